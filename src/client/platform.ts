/** A WebSocket of a browser, of Node, or of the package `ws`; `addEventListener` is used, too. */
export interface WebSocketLike {
  /** Sends one text message. */
  send(text: string): void;
  /** Starts the closing handshake. */
  close(code?: number, reason?: string): void;
}

/** The declarations of browsers and of `ws` type these differently. */
export interface WebSocketWithEvents extends WebSocketLike {
  /** In bytes. */
  readonly bufferedAmount?: number;
  addEventListener(type: 'message' | 'error' | 'close', listener: (event: never) => void): void;
}

/** Constructor of {@link WebSocketLike}. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** A timer that can be cancelled. */
export interface ClientTimer {
  /** Prevents the task from being called. */
  cancel(): void;
}

/** Source of time. */
export interface ClientClock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls `task` once after `ms` milliseconds. */
  after(ms: number, task: () => void): ClientTimer;
}

export const systemClock: ClientClock = {
  now: Date.now,
  after(ms, task) {
    // `setTimeout` fires at once for a delay above 31 bits.
    const timeout = setTimeout(task, Math.min(ms, 2 ** 31 - 1));
    return { cancel: () => clearTimeout(timeout) };
  },
};

interface EventTargetLike {
  addEventListener?(type: string, listener: (event: { readonly type: string }) => void): void;
  removeEventListener?(type: string, listener: (event: { readonly type: string }) => void): void;
}

/** Globals that are missing on some platforms. */
export const platform = globalThis as unknown as EventTargetLike & {
  readonly WebSocket?: WebSocketConstructor;
  readonly document?: EventTargetLike & { readonly baseURI?: string; readonly hidden?: boolean };
  readonly origin?: string;
  readonly navigator?: { readonly connection?: EventTargetLike & { readonly type?: string } };
};

/** Calls `task` for every event after which the connection may be dead. */
export function onPageEvent(task: (event: { readonly type: string }) => void): () => void {
  const { document, navigator } = platform;
  const each = (method: keyof EventTargetLike) => {
    for (const type of ['online', 'offline', 'pagehide', 'pageshow']) platform[method]?.(type, task);
    document?.[method]?.('visibilitychange', task);
    navigator?.connection?.[method]?.('change', task);
  };
  each('addEventListener');
  return () => each('removeEventListener');
}

/** React Native's URL has no setters and rewrites paths, so only paths are resolved. */
export function resolveUrl(address: string): string {
  // A `srcdoc` frame has its parent's base; a worker, also one made from a blob, has the origin.
  const base = platform.document?.baseURI ?? platform.origin;
  return /^\w+:/.test(address) ? address : new URL(address, base).href;
}

/** Not secret: the server keeps the keys of different users apart. */
export function uniqueId(): string {
  return String(Math.random()).slice(2) + Date.now();
}

/** In UTF-8. */
export function byteLength(json: string): number {
  // Throws for lone surrogates, which JSON.stringify escapes.
  return encodeURI(json).replace(/%../g, '_').length;
}
