import { assertValid } from '../client/client-error.js';
import {
  platform,
  uniqueId,
  type WebSocketConstructor,
  type WebSocketLike,
  type WebSocketWithEvents,
} from '../client/platform.js';
import {
  CLOSE,
  type LockManagerLike,
  type MessagePortLike,
  type OpenMessage,
  PING,
  parseClose,
} from './port-messages.js';

/** The part of a `SharedWorker` that is used. */
export interface SharedWorkerLike {
  /** Leads to the worker. */
  readonly port: MessagePortLike;
  /** Adds a listener for a script that cannot be loaded. */
  addEventListener(type: 'error', listener: () => void): void;
}

/** Options of {@link sharedWebSocket}. */
export interface SharedWebSocketOptions {
  /**
   * Tabs with the same identity and the same address share a connection. It must differ between users and between
   * sign-ins: pass the id of the session or of the user. The query of the address is not compared, because it may
   * carry a token.
   */
  readonly identity: string;
}

type Listener = (event: never) => void;

/** Globals that are missing on some platforms. */
const scope = globalThis as {
  readonly SharedWorker?: unknown;
  readonly navigator?: { readonly locks?: LockManagerLike };
};

/**
 * The option `WebSocket` of `connect` for pages whose tabs share one connection, in a worker that calls {@link serveTabs}.
 * `worker` creates the `SharedWorker`; it is called for each connection. Returns `undefined` where the browser has no
 * SharedWorker or no Web Locks: `connect` then opens a connection per tab. So does a tab whose worker cannot be loaded.
 *
 * @example
 * ```ts
 * const worker = () => new SharedWorker(new URL('./tabs-worker.js', import.meta.url), { type: 'module' });
 * const client = connect({ url: '/ws', WebSocket: sharedWebSocket(worker, { identity: sessionId }) });
 * ```
 * @throws {ClientError} `INVALID` for invalid arguments.
 */
export function sharedWebSocket(
  worker: () => SharedWorkerLike,
  options: SharedWebSocketOptions,
): WebSocketConstructor | undefined {
  assertValid(typeof worker === 'function', 'worker: not a function');
  const identity = options?.identity;
  assertValid(identity && typeof identity === 'string', 'identity: empty, or not a string');
  const locks = scope.navigator?.locks;
  if (!scope.SharedWorker || !locks) return undefined;
  /** The worker cannot be loaded. */
  let isBroken = false;
  const onBroken = (): void => {
    isBroken = true;
  };
  // Not an arrow function, which `new` refuses.
  function Socket(url: string, protocols: string[]): WebSocketLike {
    if (!isBroken) return new SharedWebSocket(url, identity, worker, locks as LockManagerLike, onBroken);
    return new (platform.WebSocket as WebSocketConstructor)(url, protocols);
  }
  return Socket as unknown as WebSocketConstructor;
}

/** The tab's side of its connection. */
class SharedWebSocket implements WebSocketWithEvents {
  readonly #listeners: [string, Listener][] = [];
  #port: MessagePortLike | undefined;
  #releaseLock = (): void => {};
  #isEnded = false;
  #isLoaded = false;

  constructor(
    url: string,
    identity: string,
    createWorker: () => SharedWorkerLike,
    locks: LockManagerLike,
    onBroken: () => void,
  ) {
    const onError = (reason: string): void => {
      // Errors in a running worker are none of the connection.
      if (this.#isLoaded || this.#isEnded) return;
      onBroken();
      this.#end();
      this.#emit('close', { code: 1006, reason });
    };
    try {
      const worker = createWorker();
      const { port } = worker;
      this.#port = port;
      worker.addEventListener('error', () => onError('the shared worker cannot be loaded'));
      port.addEventListener('message', ({ data }) => this.#receive(data as string));
      port.start();
      const lock = `rollcall:tab:${uniqueId()}`;
      const open = (): unknown => {
        if (this.#isEnded) return;
        // Only now: the worker takes a lock that it gets for the end of this tab.
        port.postMessage({ url, identity, lock } satisfies OpenMessage);
        return new Promise<void>((resolve) => {
          this.#releaseLock = resolve;
        });
      };
      locks.request(lock, open).catch((error: unknown) => onError(String(error)));
    } catch (error) {
      // Asynchronous, because the client adds its listeners after this call.
      queueMicrotask(() => onError(String(error)));
    }
  }

  addEventListener(type: string, listener: Listener): void {
    this.#listeners.push([type, listener]);
  }

  send(text: string): void {
    if (!this.#isEnded) this.#port?.postMessage(text);
  }

  close(): void {
    this.send(CLOSE);
    this.#end();
  }

  #receive(text: string): void {
    if (this.#isEnded) return;
    this.#isLoaded = true;
    if (text[0] === '{') this.#emit('message', { data: text });
    else if (text.startsWith(PING)) this.send(`pong${text.slice(PING.length)}`);
    else {
      this.#end();
      this.#emit('close', parseClose(text));
    }
  }

  /** A held lock or an open port may keep the page out of the back/forward cache. */
  #end(): void {
    this.#isEnded = true;
    this.#releaseLock();
    this.#port?.close();
  }

  #emit(type: string, event: object): void {
    for (const [each, listener] of this.#listeners) if (each === type) listener(event as never);
  }
}
