import type { Listener, NamespaceBase } from './socket-io-types.js';

/** Between servers: the sender has recovered the session of this socket. */
const RECOVERED_EVENT = 'rollcall:recovered';

/**
 * Notifies other servers of a recovered session. Without this event they keep their registration of the socket until
 * the recovery grace is over.
 */
export class RecoveryNotifier {
  /** Sockets that may be recovered elsewhere. */
  readonly #counts = new Map<NamespaceBase, number>();
  readonly #listener: Listener;

  constructor(onRecovered: (socketId: string) => void) {
    this.#listener = (socketId) => {
      if (typeof socketId === 'string') onRecovered(socketId);
    };
  }

  /** Each call needs one `release`. */
  acquire(namespace: NamespaceBase): void {
    const count = this.#counts.get(namespace) ?? 0;
    this.#counts.set(namespace, count + 1);
    if (count === 0) namespace.on?.(RECOVERED_EVENT, this.#listener);
  }

  release(namespace: NamespaceBase): void {
    const count = this.#counts.get(namespace) ?? 0;
    if (count > 1) {
      this.#counts.set(namespace, count - 1);
      return;
    }
    this.#counts.delete(namespace);
    namespace.off?.(RECOVERED_EVENT, this.#listener);
  }

  notify(namespace: NamespaceBase, socketId: string): void {
    namespace.serverSideEmit?.(RECOVERED_EVENT, socketId);
  }
}
