import { assertValid } from './client-error.js';
import { type ClientClock, platform, systemClock, type WebSocketConstructor } from './platform.js';
import type { TimerSettings } from './timer.js';

/** Options of {@link connect}. */
export interface ConnectOptions {
  /**
   * The server's address: `wss://…` or `https://…`, or a path in a page. A function is called for each attempt,
   * for example to fetch a fresh token; if it fails, the attempt fails. It is also called before the credentials of
   * the connection expire: the client then sends the query of the new URL, and the connection stays open.
   */
  readonly url: string | (() => string | Promise<string>);
  /**
   * The WebSocket class. Node before version 22 needs the one of the package `ws`. Only with the default, the client
   * falls back to HTTP where WebSockets are blocked: see `createHttpHandler` of `rollcall/server`.
   * @default globalThis.WebSocket
   */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** Delay before the next attempt: a random value from 0 to `first * 2 ** attempt`, at most `max`. */
  readonly backoff?:
    | {
        /** The longest first delay, in ms. @default 500 */
        readonly first?: number | undefined;
        /** The longest delay, in ms. @default 30_000 */
        readonly max?: number | undefined;
      }
    | undefined;
  /** Limit for the reply to a call, in ms, including the time without a connection. @default 10_000 */
  readonly timeout?: number | undefined;
  /** Calls that wait for a connection, for a room, or for the end of a rate limit. */
  readonly queue?:
    | {
        /** Maximum number of waiting calls. @default 100 */
        readonly size?: number | undefined;
        /** The call that fails with `QUEUE_FULL`. @default 'reject', the new one */
        readonly overflow?: 'reject' | 'drop-oldest' | undefined;
      }
    | undefined;
  /** Returns a number in [0, 1), for the delays. @default Math.random */
  readonly random?: (() => number) | undefined;
  /** For tests. @internal */
  readonly clock?: ClientClock | undefined;
}

export interface ClientSettings extends TimerSettings {
  readonly url: () => string | Promise<string>;
  readonly WebSocket: WebSocketConstructor;
  /** `url` is a function: it may return new credentials. */
  readonly refreshes: boolean;
  /** Falls back to HTTP, because the application has not passed a class. */
  readonly http: boolean;
  readonly timeout: number;
  readonly size: number;
  readonly overflow: 'reject' | 'drop-oldest' | undefined;
}

export function resolveSettings(options: Partial<ConnectOptions> = {}): ClientSettings {
  const { url, timeout = 10_000, backoff = {}, queue = {}, clock = systemClock } = options;
  const { WebSocket = platform.WebSocket, random = Math.random } = options;
  const { first = 500, max = 30_000 } = backoff;
  const { size = 100, overflow } = queue;
  assertValid(url && /^(string|function)$/.test(typeof url), 'url: not a string or function');
  assertValid(WebSocket, 'no global WebSocket: pass `WebSocket` from ws');
  assertValid(
    first > 0 && max >= first && timeout > 0 && size >= 0,
    'backoff, timeout or queue: out of range',
  );
  return {
    url: typeof url === 'string' ? () => url : url,
    refreshes: typeof url !== 'string',
    WebSocket,
    http: !options.WebSocket,
    first,
    max,
    random,
    timeout,
    size,
    overflow,
    clock,
  };
}
