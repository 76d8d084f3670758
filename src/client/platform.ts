/** A WebSocket: a browser's, Node's, or that of `ws`. Its `addEventListener` is used too. */
export interface WebSocketLike {
  /** Sends one text message. */
  send(text: string): void;
  /** Begins to close. */
  close(code?: number, reason?: string): void;
}

/** A WebSocket with what the declarations of browsers and of `ws` can't agree on. */
export interface WebSocketWithEvents extends WebSocketLike {
  /** Calls `listener` for each event of this type. */
  addEventListener(type: 'message' | 'error' | 'close', listener: (event: never) => void): void;
}

/** What makes a WebSocket. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** A timer that can be called off. */
export interface ClientTimer {
  /** The task is not called any more. */
  cancel(): void;
}

/** Where the client gets time and chance from. */
export interface ClientClock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** A number in [0, 1). */
  random(): number;
  /** Calls `task` once after `ms` milliseconds. */
  after(ms: number, task: () => void): ClientTimer;
}

/** The real clock. */
export const systemClock: ClientClock = {
  now: () => Date.now(),
  random: () => Math.random(),
  after(ms, task) {
    // A longer delay than fits into 31 bits would fire at once.
    const timeout = setTimeout(task, Math.min(ms, 2 ** 31 - 1));
    return { cancel: () => clearTimeout(timeout) };
  },
};

interface EventTargetLike {
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
}

/** What may be missing, depending on where this runs. */
export const platform = globalThis as unknown as EventTargetLike & {
  readonly WebSocket?: WebSocketConstructor;
  readonly document?: EventTargetLike;
  readonly location?: { readonly href: string };
  readonly crypto?: { getRandomValues(numbers: Uint32Array): Uint32Array };
};

/**
 * Calls `task` when the network is back or the page is looked at again (or no more, which does no harm);
 * returns how to stop that.
 */
export function onNetworkOrVisibilityChange(task: () => void): () => void {
  const each = (method: keyof EventTargetLike) => {
    platform[method]?.('online', task);
    platform.document?.[method]?.('visibilitychange', task);
  };
  each('addEventListener');
  return () => each('removeEventListener');
}

/** Text that nobody else comes up with. */
export function randomId(): string {
  const { crypto } = platform;
  return crypto ? crypto.getRandomValues(new Uint32Array(4)).join('') : `${Math.random()}${Math.random()}`;
}

/** How many bytes a JSON text has in UTF-8. */
export function byteLength(json: string): number {
  // In JSON.stringify's there are no halves of surrogate pairs, which this would throw at.
  return encodeURI(json).replace(/%../g, '_').length;
}
