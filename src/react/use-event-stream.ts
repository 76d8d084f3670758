import { useMemo, useSyncExternalStore } from 'react';
import { CONNECTING, EventStreamStore, type EventStreamView } from './event-stream-store.js';
import { useLatest } from './use-latest.js';
import { assertLimit, parseNamesKey, toNamesKey } from './validate.js';

/** What {@link useEventStream} takes. */
export interface UseEventStreamOptions {
  /**
   * The names of the events to list; an EventSource hears only those it is asked for. `$discontinuity`, `$members`
   * and so on are the server's own. @default ['message']
   */
  readonly events?: readonly string[] | undefined;
  /** How many events to list, at least 1. @default 200 */
  readonly limit?: number | undefined;
  /** Send cookies to other origins too. @default false */
  readonly withCredentials?: boolean | undefined;
  /** Makes the data of an event's text. @default JSON.parse */
  readonly parse?: ((text: string, event: string) => unknown) | undefined;
}

const MESSAGE = ['message'];
const parseJson = (text: string): unknown => JSON.parse(text);
const IDLE: EventStreamView = { state: 'idle', events: [] };
const noopSubscribe = () => () => {};

/**
 * Reads a stream of events, one of `rollcall/sse` say, on the browser's EventSource, as long as the component is
 * there. The browser comes back by itself and goes on where it was; a `$close` that says not to is heeded. With
 * another URL the list begins anew; with null there is no stream. Needs no {@link RollcallProvider}.
 *
 * @example
 * ```tsx
 * const { events, state } = useEventStream<Reading>('/events', { events: ['reading'] });
 * ```
 * @throws {ClientError} `INVALID` for a `limit` below 1, and for `events` that are no list.
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
