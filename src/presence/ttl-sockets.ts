import { InvalidArgumentError, LimitError } from '../internal/errors.js';
import { NO_PROCESS } from './keys.js';
import type { LocalPresence } from './local-presence.js';
import type { SocketRef } from './local-sockets.js';
import type { PresenceWriter } from './presence-writer.js';
import { decodeRecord, offlinePresence } from './record.js';
import type { PresenceData } from './types.js';
import type { TtlSocketWrite } from './writes.js';

/** Options of {@link TtlSockets}. */
export interface TtlSocketsOptions {
  readonly writer: PresenceWriter;
  readonly local: LocalPresence;
  readonly maxSocketsPerUser: number;
  /** False: calls also remove the user's sockets that had no heartbeat, because no process sweeps here. */
  readonly background: boolean;
}

/** Sockets without a process: they end by themselves unless a call from any process prolongs them. */
export class TtlSockets {
  readonly #options: TtlSocketsOptions;

  constructor(options: TtlSocketsOptions) {
    this.#options = options;
  }

  /** `entry`: see `encodeTtlEntry`. Unlike other sockets, it stays after a call with an unknown outcome, until its TTL. */
  async set(
    ref: SocketRef,
    userId: string,
    socketId: string,
    ttl: number,
    entry: string,
  ): Promise<PresenceData> {
    const { user, socket } = ref;
    const { local, maxSocketsPerUser } = this.#options;
    if (local.hasSocket(ref)) {
      throw new InvalidArgumentError(
        'ttl',
        'is for sockets without a process, and this process has registered the socket without one: remove it first',
      );
    }
    const record = await this.#apply(ref, { kind: 'ttl', user, socket, ttl, entry });
    // Removed again in the same transaction.
    if (record === null) return offlinePresence(userId);
    const data = decodeRecord(userId, record, true);
    const at = data.sockets.findIndex((one) => one.nodeId === NO_PROCESS && one.socketId === socketId);
    if (at < maxSocketsPerUser) return data;
    await this.remove(ref, 0);
    throw new LimitError(
      `user ${JSON.stringify(userId)} has ${maxSocketsPerUser} sockets already (maxSocketsPerUser)`,
      { retryAfter: ttl },
    );
  }

  /** False: there is no such socket. */
  async heartbeat(ref: SocketRef): Promise<boolean> {
    const { user, socket } = ref;
    const record = await this.#apply(ref, { kind: 'ttl', user, socket });
    return record?.includes(`\n${socket}"`) === true;
  }

  /** Merged with the write into one script call. */
  async #apply({ partition, user }: SocketRef, write: TtlSocketWrite): Promise<string | null> {
    const { writer, background } = this.#options;
    const [record] = await Promise.all([
      writer.apply(partition, write),
      background ? undefined : writer.apply(partition, { kind: 'look', user, reason: 'time', outage: 0 }),
    ]);
    return record;
  }

  /** Also of processes. Resolves with the user's record. */
  remove({ partition, user, socket }: SocketRef, grace: number): Promise<string | null> {
    return this.#options.writer.apply(partition, { kind: 'removal', user, socket, grace });
  }
}
