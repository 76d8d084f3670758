import { LimitError } from '../internal/errors.js';
import type { PresenceComponents } from './components.js';
import type { SocketRef } from './local-sockets.js';
import { instanceIdOf } from './node-lease.js';
import type { WriteCallbacks } from './presence-writer.js';
import { decodeRecord, offlinePresence } from './record.js';
import type { PresenceData, SocketPresence } from './types.js';

export class SetPresenceCall implements WriteCallbacks {
  constructor(
    readonly userId: string,
    readonly socketId: string,
    readonly ref: SocketRef,
    /** Including this socket. */
    readonly limit: number,
    readonly parts: Pick<PresenceComponents, 'local' | 'nodeLease' | 'reaper' | 'lease'>,
    /** Pending while the inbox is being subscribed to. */
    readonly subscribing: Promise<void> | undefined,
    readonly resolve: (presence: PresenceData | Promise<PresenceData>) => void,
    readonly onFailed: (error: unknown) => void,
  ) {}

  onCommitted(record: string | null): void {
    const { subscribing } = this;
    try {
      // From now on other processes may remove the socket, and their notifications must be received.
      this.resolve(
        subscribing === undefined ? this.#outcome(record) : subscribing.then(() => this.#outcome(record)),
      );
    } catch (error) {
      this.onFailed(error);
    }
  }

  #outcome(record: string | null): PresenceData | Promise<PresenceData> {
    if (record === null) return offlinePresence(this.userId);
    const data = decodeRecord(this.userId, record, true);
    const { limit, socketId } = this;
    const { sockets } = data;
    if (sockets.length <= limit) return data;
    // Sockets of an expired process are most likely gone.
    const { suspectNodes } = this.parts.reaper.stats;
    const living = sockets.filter(({ nodeId }) => !suspectNodes.includes(nodeId));
    // Other processes' sockets in the record of this transaction came first, whatever their times are: estimates of
    // Redis's clock differ by some ms. Own sockets may share the transaction, and are in the order of their times.
    const own = living.findIndex((one) => one.socketId === socketId);
    const earlier = living.filter((one, index) => index < own || (index > own && !this.#isOwn(one)));
    return own === -1 || earlier.length < limit ? data : this.#refuse(living);
  }

  #isOwn({ nodeId }: SocketPresence): boolean {
    return instanceIdOf(nodeId) === this.parts.nodeLease.instanceId;
  }

  async #refuse(living: readonly SocketPresence[]): Promise<never> {
    const { local, lease } = this.parts;
    await local.remove(this.ref, 0);
    const user = JSON.stringify(this.userId);
    // Any other process may have died within the last lease.
    const mayBeGone = living.some((one) => !this.#isOwn(one));
    throw new LimitError(`user ${user} has ${this.limit} sockets already (maxSocketsPerUser)`, {
      retryAfter: mayBeGone ? lease : undefined,
    });
  }
}
