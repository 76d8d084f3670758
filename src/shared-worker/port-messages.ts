// Between a tab and the worker: first an OpenMessage of the tab, then the text of messages of a shared connection (see
// docs/protocol.md) without the number of the tab.

/** The part of a `MessagePort` that is used. */
export interface MessagePortLike {
  /** Sends a copy of the message. */
  postMessage(message: unknown): void;
  /** Starts the delivery of messages. */
  start(): void;
  /** Ends the connection of both ports. */
  close(): void;
  /** Adds a listener for messages. */
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void;
}

/** The first message of a tab. */
export interface OpenMessage {
  /** The one for a WebSocket. */
  readonly url: string;
  readonly identity: string;
  /** Name of a Web Lock that the tab holds while it uses the port. The browser releases the lock of a tab that crashes. */
  readonly lock: string;
}

/** The part of the Web Locks API that is used. */
export interface LockManagerLike {
  request(name: string, callback: () => unknown): Promise<unknown>;
}

export const CLOSE = 'close';
export const PING = 'ping';

/** Of a message whose first word is `close`. */
export function parseClose(text: string): { readonly code: number; readonly reason: string } {
  const [, code, reason = ''] = /^close (\d+) ?(.*)/s.exec(text) ?? [];
  return { code: Number(code ?? 1006), reason };
}
