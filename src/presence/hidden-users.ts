import type { LocalSockets } from './local-sockets.js';
import { instanceIdOf, type NodeLease } from './node-lease.js';
import { hiddenUntil, listsSocketOf } from './record.js';

/** Options of {@link HiddenUsers}. */
export interface HiddenUsersOptions {
  readonly localSockets: LocalSockets;
  readonly nodeLease: Pick<NodeLease, 'instanceId'>;
}

/** Receives what {@link HiddenUsers} finds. Users are escaped. */
export interface HiddenUsersListener {
  /** A user of this process has become invisible. */
  onHidden(user: string): void;
  /** They are visible again. */
  onShown(user: string): void;
}

/**
 * The users of this process who are invisible, learned from the records that writes return; so it costs visible users no
 * command. Nothing of an invisible user is written to rooms. If Redis loses the status, the next write of one of their
 * sockets restores it.
 */
export class HiddenUsers {
  readonly #options: HiddenUsersOptions;
  /** User → when the status ends, in ms by Redis's clock; 0: never. */
  readonly #untils = new Map<string, number>();
  #listener: HiddenUsersListener | undefined;

  constructor(options: HiddenUsersOptions) {
    this.#options = options;
  }

  listen(listener: HiddenUsersListener): void {
    this.#listener = listener;
  }

  /** When the status `invisible` of a user of this process ends; 0: never. `undefined` for a visible user. */
  until(user: string): number | undefined {
    return this.#untils.get(user);
  }

  /** Notes a user's record after a write. No record says nothing: Redis may have lost it. */
  observe(user: string, record: string | null): void {
    if (record === null) return;
    const until = hiddenUntil(record);
    const known = this.#untils.has(user);
    if (until === undefined) {
      if (!known) return;
      this.#untils.delete(user);
      this.#listener?.onShown(user);
      return;
    }
    const { nodeLease, localSockets } = this.#options;
    const isLocal = listsSocketOf(record, (nodeId) => instanceIdOf(nodeId) === nodeLease.instanceId);
    if (isLocal) {
      this.#untils.set(user, until);
      if (!known) this.#listener?.onHidden(user);
    } else if (known && !localSockets.hasMemberships(user)) this.#untils.delete(user);
  }
}
