import { useMemo, useSyncExternalStore } from 'react';
import { CONNECTING, EventStreamStore, type EventStreamView } from './event-stream-store.js';
import { useLatest } from './use-latest.js';
import { assertLimit, parseNamesKey, toNamesKey } from './validate.js';

/** Options of {@link useEventStream}. */
export interface UseEventStreamOptions {
  /**
   * Names of the events to list; an EventSource cannot receive all. Names with `$`, such as `$discontinuity`,
   * are the server's own. @default ['message']
   */
  readonly events?: readonly string[] | undefined;
  /** Number of events to list, at least 1. @default 200 */
  readonly limit?: number | undefined;
  /** Send cookies to other origins too. @default false */
  readonly withCredentials?: boolean | undefined;
  /** Converts the text of an event to its `data`. @default JSON.parse */
  readonly parse?: ((text: string, event: string) => unknown) | undefined;
}

const MESSAGE = ['message'];
const parseJson = (text: string): unknown => JSON.parse(text);
const IDLE: EventStreamView = { state: 'idle', events: [] };
const noopSubscribe = () => () => {};

/**
 * Reads an event stream, for example of `rollcall/sse`, with the browser's EventSource while the component is mounted.
 * The browser reconnects and resumes by itself, unless `$close` forbids it. Another URL starts a new list; with null
 * there is no stream. Needs no {@link RollcallProvider}.
 *
 * @example
 * ```tsx
 * const { events, state } = useEventStream<Reading>('/events', { events: ['reading'] });
 * ```
 * @throws {ClientError} `INVALID` for a `limit` below 1, and if `events` is a string.
 */
export function useEventStream<T = unknown>(
  url: string | null,
  options: UseEventStreamOptions = {},
): EventStreamView<T> {
  const { events = MESSAGE, limit = 200, withCredentials = false } = options;
  assertLimit(limit);
  const key = toNamesKey(events, 'events');
  const parse = useLatest(options.parse ?? parseJson);
  const store = useMemo(
    () =>
      url === null
        ? undefined
        : new EventStreamStore(url, { names: parseNamesKey(key) ?? MESSAGE, limit, withCredentials, parse }),
    [url, key, limit, withCredentials, parse],
  );
  const first = () => (url === null ? IDLE : CONNECTING);
  const view = useSyncExternalStore(store?.subscribe ?? noopSubscribe, store?.snapshot ?? first, first);
  return view as EventStreamView<T>;
}
