import type { LocalSockets } from './local-sockets.js';
import { instanceIdOf, type NodeLease } from './node-lease.js';
import { concealsLastSeen, hiddenUntil, listsSocketOf } from './record.js';

export interface HiddenUsersOptions {
  readonly localSockets: LocalSockets;
  readonly nodeLease: Pick<NodeLease, 'instanceId'>;
}

/** Users are escaped. */
export interface HiddenUsersListener {
  /** A user of this process. */
  onHidden(user: string): void;
  onShown(user: string): void;
}

/**
 * Invisible users of this process, and those who hide `lastSeen`, known from the records that writes return: visible users cost no command.
 * Nothing of an invisible user is written to rooms. If Redis loses the status, the next write of one of their
 * sockets restores it.
 */
export class HiddenUsers {
  readonly #options: HiddenUsersOptions;
  /** User → end of the status, in ms by Redis's clock; 0: none. */
  readonly #untils = new Map<string, number>();
  /** Users who hide `lastSeen`. */
  readonly #concealed = new Set<string>();
  #listener: HiddenUsersListener | undefined;

  constructor(options: HiddenUsersOptions) {
    this.#options = options;
  }

  listen(listener: HiddenUsersListener): void {
    this.#listener = listener;
  }

  /** End of the status `invisible`; 0: none. `undefined`: a visible user. */
  until(user: string): number | undefined {
    return this.#untils.get(user);
  }

  /** True for a user of this process who hides `lastSeen`. */
  concealsLastSeen(user: string): boolean {
    return this.#concealed.has(user);
  }

  /** After a write. A missing record proves nothing: Redis may have lost it. */
  observe(user: string, record: string | null): void {
    if (record === null) return;
    const { localSockets } = this.#options;
    this.#observeLastSeen(user, record);
    const until = hiddenUntil(record);
    const known = this.#untils.has(user);
    if (until === undefined) {
      // Of a user without sockets. If this process has some, Redis has lost them, or others removed them while this process
      // seemed dead: their next write shows whether the user is invisible.
      if (!known || (!listsSocketOf(record, () => true) && localSockets.hasSocketsOf(user))) return;
      this.#untils.delete(user);
      this.#listener?.onShown(user);
      return;
    }
    if (this.#isLocal(record)) {
      this.#untils.set(user, until);
      if (!known) this.#listener?.onHidden(user);
    } else if (known && !localSockets.hasMemberships(user) && !localSockets.hasSocketsOf(user)) {
      this.#untils.delete(user);
    }
  }

  #observeLastSeen(user: string, record: string): void {
    const conceals = concealsLastSeen(record);
    if (!conceals && !this.#concealed.has(user)) return;
    if (this.#isLocal(record)) {
      if (conceals) this.#concealed.add(user);
      else this.#concealed.delete(user);
    } else if (!this.#options.localSockets.hasSocketsOf(user)) {
      // While this process has a socket of the user, a record without one proves nothing.
      this.#concealed.delete(user);
    }
  }

  #isLocal(record: string): boolean {
    const { instanceId } = this.#options.nodeLease;
    return listsSocketOf(record, (nodeId) => instanceIdOf(nodeId) === instanceId);
  }
}
