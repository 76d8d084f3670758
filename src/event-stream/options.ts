import { assertValid } from '../client/client-error.js';
import { type ClientClock, systemClock } from '../client/platform.js';
import type { TimerSettings } from '../client/timer.js';

/** The members of a `fetch` that the stream uses. */
export type FetchLike = (
  url: string,
  init: {
    headers: Record<string, string>;
    credentials?: 'omit' | 'same-origin' | 'include';
    cache: 'no-store';
    signal: AbortSignal;
  },
) => Promise<Response>;

const OPTION_NAMES = new Set([
  'url',
  'headers',
  'credentials',
  'lastEventId',
  'parse',
  'silenceTimeout',
  'backoff',
  'fetch',
  'random',
  'clock',
]);

/** Header values by name. */
export type HeaderMap = Readonly<Record<string, string>>;

/** Options of {@link connectEventStream}. */
export interface EventStreamClientOptions {
  /** Address of the stream; in a page also a path. A function is called for each attempt. */
  readonly url: string | (() => string | Promise<string>);
  /** Headers of the request, such as `authorization`. A function is called for each attempt, for a fresh token. */
  readonly headers?: HeaderMap | (() => HeaderMap | Promise<HeaderMap>) | undefined;
  /** Whether cookies are sent, see `fetch`. @default the default of `fetch`: to the page's own origin */
  readonly credentials?: 'omit' | 'same-origin' | 'include' | undefined;
  /** Resume after this event: {@link EventStreamClient.lastEventId} of an earlier stream. @default none */
  readonly lastEventId?: string | undefined;
  /** Converts the text of an event to its `data`. @default JSON.parse */
  readonly parse?: ((text: string, event: string) => unknown) | undefined;
  /**
   * A connection without a byte for this time is lost: in ms, more than the server's `keepAliveInterval`.
   * `Infinity`: never. @default 40_000
   */
  readonly silenceTimeout?: number | undefined;
  /** Delay before the next attempt: a random value from 0 to `first * 2 ** attempt`, at most `max`. */
  readonly backoff?:
    | {
        /** The longest first delay, in ms. @default the server's `retry`, or 1_000 */
        readonly first?: number | undefined;
        /** The longest delay, in ms. @default 30_000 */
        readonly max?: number | undefined;
      }
    | undefined;
  /** Sends the requests. @default globalThis.fetch */
  readonly fetch?: FetchLike | undefined;
  /** Returns a number in [0, 1), for the delays. @default Math.random */
  readonly random?: (() => number) | undefined;
  /** For tests. @internal */
  readonly clock?: ClientClock | undefined;
}

export interface EventStreamClientSettings extends TimerSettings {
  readonly url: () => string | Promise<string>;
  readonly headers: () => HeaderMap | Promise<HeaderMap>;
  /** A later attempt may carry other credentials. */
  readonly isRefreshable: boolean;
  readonly credentials: 'omit' | 'same-origin' | 'include' | undefined;
  readonly lastEventId: string;
  readonly parse: (text: string, event: string) => unknown;
  readonly silenceTimeout: number;
  readonly fetch: FetchLike;
}

const parseJson = (text: string): unknown => JSON.parse(text);

const provide =
  <T>(value: T | (() => T | Promise<T>)): (() => T | Promise<T>) =>
  () =>
    typeof value === 'function' ? (value as () => T | Promise<T>)() : value;

export function resolveSettings(options: EventStreamClientOptions): EventStreamClientSettings {
  assertValid(options && typeof options === 'object', 'options: not an object');
  const unknown = Object.keys(options).find((name) => !OPTION_NAMES.has(name));
  assertValid(unknown === undefined, `${unknown}: unknown option`);
  const { url, headers = {}, lastEventId = '', silenceTimeout = 40_000, backoff = {} } = options;
  const { fetch = globalThis.fetch, parse = parseJson, random = Math.random, clock = systemClock } = options;
  const { first = 1_000, max = 30_000 } = backoff;
  assertValid(url && /^(string|function)$/.test(typeof url), 'url: not a string or function');
  assertValid(headers && /^(object|function)$/.test(typeof headers), 'headers: not an object or function');
  assertValid(typeof lastEventId === 'string', 'lastEventId: not a string');
  assertValid(typeof parse === 'function', 'parse: not a function');
  assertValid(typeof fetch === 'function', 'no global fetch: pass `fetch`');
  assertValid(silenceTimeout > 0 && first > 0 && max >= first, 'silenceTimeout or backoff: out of range');
  return {
    url: provide(url),
    headers: provide(headers),
    isRefreshable: typeof url === 'function' || typeof headers === 'function',
    credentials: options.credentials,
    lastEventId,
    parse,
    silenceTimeout,
    // A browser's fetch must not be called as a method of the settings.
    fetch: (address, init) => fetch(address, init),
    first,
    max,
    random,
    clock,
  };
}
