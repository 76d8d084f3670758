import type { LocalSockets } from './local-sockets.js';
import { instanceIdOf, type NodeLease } from './node-lease.js';
import { hiddenUntil, listsSocketOf } from './record.js';

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
 * Invisible users of this process, known from the records that writes return: visible users cost no command.
 * Nothing of an invisible user is written to rooms. If Redis loses the status, the next write of one of their
 * sockets restores it.
 */
export class HiddenUsers {
  readonly #options: HiddenUsersOptions;
  /** User → end of the status, in ms by Redis's clock; 0: none. */
  readonly #untils = new Map<string, number>();
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

  /** After a write. A missing record proves nothing: Redis may have lost it. */
  observe(user: string, record: string | null): void {
    if (record === null) return;
    const { nodeLease, localSockets } = this.#options;
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
    const isLocal = listsSocketOf(record, (nodeId) => instanceIdOf(nodeId) === nodeLease.instanceId);
    if (isLocal) {
      this.#untils.set(user, until);
      if (!known) this.#listener?.onHidden(user);
    } else if (known && !localSockets.hasMemberships(user) && !localSockets.hasSocketsOf(user)) {
      this.#untils.delete(user);
    }
  }
}
