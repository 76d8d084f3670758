import { useEffect, useMemo } from 'react';
import type { EventStreamClientOptions } from '../event-stream/index.js';
import { CONNECTING, EventStreamStore, type EventStreamView } from './event-stream-store.js';
import { useSyncExternalStore } from './react-hooks.js';
import { useLatest } from './use-latest.js';
import { assertLimit, parseNamesKey, toNamesKey } from './validate.js';

/** Options of {@link useEventStream}. */
export interface UseEventStreamOptions {
  /**
   * Names of the events to list; `*` for all but the server's own. Those begin with `$`, such as
   * `$discontinuity`. @default ['message']
   */
  readonly events?: readonly string[] | undefined;
  /** Number of events to list, at least 1. @default 200 */
  readonly limit?: number | undefined;
  /**
   * Headers of the request, such as `authorization`. A function is called for each attempt; neither another object
   * nor another function connects again.
   */
  readonly headers?: EventStreamClientOptions['headers'];
  /** Whether cookies are sent, see `fetch`. @default the default of `fetch`: to the page's own origin */
  readonly credentials?: EventStreamClientOptions['credentials'];
  /** Converts the text of an event to its `data`. @default JSON.parse */
  readonly parse?: ((text: string, event: string) => unknown) | undefined;
  /**
   * Name of the stream. While it is the same, another `url`, for example with a fresh token, applies to the next
   * attempt, or connects a closed stream again, and the list continues. @default the URL; one name for all functions
   */
  readonly streamKey?: string | undefined;
}

const MESSAGE = ['message'];
const parseJson = (text: string): unknown => JSON.parse(text);
const IDLE: EventStreamView = { ...CONNECTING, state: 'idle' };
const noopSubscribe = () => () => {};

/**
 * Reads an event stream, for example of `rollcall/sse`, while the component is mounted. It reconnects and resumes as
 * `connectEventStream` of `rollcall/event-stream` does. Another URL starts a new list, unless `streamKey` is the
 * same; with null there is no stream. A function is called for each attempt. Needs no {@link RollcallProvider}.
 *
 * @example
 * ```tsx
 * const { events, state } = useEventStream<Reading>('/events', { events: ['reading'] });
 * ```
 * @throws {ClientError} `INVALID` for a `limit` below 1, and if `events` is a string.
 */
export function useEventStream<T = unknown>(
  url: EventStreamClientOptions['url'] | null,
  options: UseEventStreamOptions = {},
): EventStreamView<T> {
  const { events = MESSAGE, limit = 200, credentials } = options;
  assertLimit(limit);
  const key = toNamesKey(events, 'events');
  const parse = useLatest(options.parse ?? parseJson);
  const latestLimit = useLatest(() => limit);
  const latestUrl = useLatest(() => (typeof url === 'function' ? url() : (url as string)));
  const latestHeaders = useLatest(() => {
    const { headers = {} } = options;
    return typeof headers === 'function' ? headers() : headers;
  });
  const stream = url === null ? null : (options.streamKey ?? (typeof url === 'function' ? '' : url));
  const store = useMemo(() => {
    const names = parseNamesKey(key) ?? MESSAGE;
    const settings = {
      names,
      limit: latestLimit,
      credentials,
      url: latestUrl,
      headers: latestHeaders,
      parse,
    };
    return stream === null ? undefined : new EventStreamStore(settings);
  }, [stream, key, credentials, latestLimit, latestUrl, latestHeaders, parse]);
  // A stream that was closed, for example because its token has expired, goes on with another one.
  const address = typeof url === 'string' ? url : undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: with each other address
  useEffect(() => store?.retry(), [store, address]);
  const first = () => (url === null ? IDLE : CONNECTING);
  const view = useSyncExternalStore(store?.subscribe ?? noopSubscribe, store?.snapshot ?? first, first);
  return view as EventStreamView<T>;
}
