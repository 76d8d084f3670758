import { ClientError } from './client-error.js';
import { type ClientClock, platform, randomId, systemClock, type WebSocketConstructor } from './platform.js';

/** What {@link connect} takes. */
export interface ConnectOptions {
  /**
   * Where the server is: `wss://…`, or a path or `https://…` in a page. A function is called afresh for each
   * attempt, so that it can fetch a fresh token; when it throws or rejects, the attempt has failed.
   */
  readonly url: string | (() => string | Promise<string>);
  /** What makes WebSockets. Node before 22 needs that of the package `ws`. @default globalThis.WebSocket */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** How long to wait before coming back: anything up to `first * 2 ** attempt`, by chance. */
  readonly backoff?:
    | {
        /** The longest first wait, in ms. @default 500 */
        readonly first?: number | undefined;
        /** The longest wait of all, in ms. @default 30_000 */
        readonly max?: number | undefined;
      }
    | undefined;
  /** For how long, in ms, a call waits for its answer, the time without a connection included. @default 10_000 */
  readonly timeout?: number | undefined;
  /** What becomes of calls that can't be written yet, because there is no connection or the room is not joined. */
  readonly queue?:
    | {
        /** How many of them may wait. @default 100 */
        readonly size?: number | undefined;
        /** Which one fails with `QUEUE_FULL` when there is one more. @default 'reject', the new one */
        readonly overflow?: 'reject' | 'drop-oldest' | undefined;
      }
    | undefined;
  /** A number in [0, 1), for the waits. @default Math.random */
  readonly random?: (() => number) | undefined;
  /** Where time comes from, for tests. @internal */
  readonly clock?: ClientClock | undefined;
}

/** The options with everything filled in. */
export interface ClientSettings {
  readonly url: () => string | Promise<string>;
  readonly WebSocket: WebSocketConstructor;
  readonly first: number;
  readonly max: number;
  readonly random: () => number;
  readonly timeout: number;
  readonly size: number;
  readonly dropOldest: boolean;
  readonly clock: ClientClock;
  /** Another idempotency key each time. */
  key(): string;
}

/** Throws `INVALID` unless `valid`. */
export function assertValid(valid: unknown, message: string): asserts valid {
  if (!valid) throw new ClientError('INVALID', message);
}

export function resolveSettings(options: ConnectOptions): ClientSettings {
  const { url, timeout = 10_000, backoff, queue, clock = systemClock } = options;
  const { WebSocket = platform.WebSocket, random = () => clock.random() } = options;
  const { first = 500, max = 30_000 } = backoff ?? {};
  const { size = 100, overflow } = queue ?? {};
  const prefix = randomId();
  let keys = 0;
  const source = typeof url === 'string' ? () => url : url;
  const inRange = first > 0 && max >= first && timeout > 0 && size >= 0;
  assertValid(
    WebSocket && typeof source === 'function' && inRange,
    'url, WebSocket, backoff, timeout or queue: wrong',
  );
  return {
    url: source,
    WebSocket,
    first,
    max,
    random,
    timeout,
    size,
    dropOldest: overflow === 'drop-oldest',
    clock,
    key: () => `${prefix}-${++keys}`,
  };
}
