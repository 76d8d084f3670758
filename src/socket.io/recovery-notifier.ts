import type { Listener, NamespaceBase } from './socket-io-types.js';

/** Event between servers: the sender has recovered the session of the socket with this id. */
const RECOVERED_EVENT = 'rollcall:recovered';

/**
 * Notifies the other servers of a namespace that this one has recovered a session, so that they remove their
 * registrations of the socket at once. Without such an event, they remove them when the recovery grace is over.
 */
export class RecoveryNotifier {
  /** Sockets that may be recovered elsewhere, by namespace. */
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
