import { jitter, sleep } from '../internal/clock.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { CommandError } from '../internal/errors.js';
import type { ClientHandle } from '../redis/client-handle.js';
import { toRollcallError } from '../redis/replies.js';
import type { Inbox } from './inbox.js';
import { type PartitionKeys, splitIds } from './keys.js';
import { type LocalSockets, toRoomWrite, toSocketWrite } from './local-sockets.js';
import type { NodeLease } from './node-lease.js';
import { removeOwned } from './owned-entries.js';
import type { PresenceWriter } from './presence-writer.js';

/** Durations in ms. */
export interface RestorerOptions {
  readonly client: ClientHandle;
  readonly keys: readonly PartitionKeys[];
  readonly grace: number;
  readonly reporter: ErrorReporter;
  readonly nodeLease: NodeLease;
  readonly localSockets: LocalSockets;
  readonly writer: PresenceWriter;
  readonly inbox: Inbox;
}

/** Entries per batch. */
const RESTORE_BATCH = 1_000;

/** Writes all entries of this process again whenever Redis may have lost some. */
export class Restorer {
  restored = 0;
  readonly #options: RestorerOptions;
  #running = false;
  /** Requested since the last restoration began, or that one failed. */
  #needed = false;
  #stopped = false;

  constructor(options: RestorerOptions) {
    this.#options = options;
    options.nodeLease.listen({ onEntriesLost: () => this.#request() });
  }

  /** Entries may be missing that no node removed. */
  get active(): boolean {
    return this.#running || this.#needed;
  }

  /** A request during a restoration starts another one. */
  request(): void {
    this.#request();
  }

  /** Repeats a failed restoration. */
  resume(): void {
    if (this.#needed) this.#request();
  }

  /** Stops after the batch in progress. */
  stop(): void {
    this.#stopped = true;
  }

  #request(): void {
    this.#needed = true;
    if (this.#running) return;
    this.#running = true;
    this.#restoreAll()
      .catch((error: unknown) => {
        this.#needed = true;
        if (!this.#stopped) this.#options.reporter.report(toRollcallError(error), { stage: 'restore' });
      })
      .finally(() => {
        this.#running = false;
      });
  }

  /** Then removes entries of this node that are not local. */
  async #restoreAll(): Promise<void> {
    this.#needed = false;
    const { localSockets, writer, nodeLease, grace, keys, inbox } = this.#options;
    // Sockets that another node removed in the meantime must not be restored.
    await Promise.all(this.#partitions().map((partition) => inbox.readStored(partition)));
    await this.#inBatches([...localSockets.sockets.keys()], (key) => {
      const socket = localSockets.sockets.get(key);
      return socket && writer.apply(socket.partition, toSocketWrite(socket, grace, true));
    });
    await this.#inBatches([...localSockets.memberships.keys()], (key) => {
      const membership = localSockets.memberships.get(key);
      if (membership === undefined || !localSockets.isWritten(key, membership.room)) return undefined;
      const written = writer.apply(membership.partition, toRoomWrite(membership, true));
      return written.then(() => localSockets.confirm(membership.room));
    });
    const { previousIds } = nodeLease;
    for (const nodeId of [...previousIds, nodeLease.id]) {
      await Promise.all(keys.map((_, partition) => this.#removeOrphans(partition, nodeId)));
    }
    nodeLease.forgetPrevious(previousIds);
  }

  async #inBatches(
    all: readonly string[],
    write: (key: string) => Promise<unknown> | undefined,
  ): Promise<void> {
    let refused: CommandError | undefined;
    for (let at = 0; at < all.length && !this.#stopped; at += RESTORE_BATCH) {
      const batch = all.slice(at, at + RESTORE_BATCH);
      await Promise.all(
        batch.map(async (key) => {
          try {
            const written = write(key);
            await written;
            if (written !== undefined) this.restored++;
          } catch (error) {
            // A refused entry must not block the others.
            if (!(error instanceof CommandError)) throw error;
            refused ??= error;
          }
        }),
      );
      if (at + RESTORE_BATCH < all.length) await this.#pause();
    }
    if (refused !== undefined) throw refused;
  }

  /** Other processes restore at the same time. */
  #pause(): Promise<void> {
    const { clock } = this.#options.client;
    return sleep(clock, jitter(clock, 20, 0.9));
  }

  /** `nodeId`: an id of this process. */
  async #removeOrphans(partition: number, nodeId: string): Promise<void> {
    const { client, grace, localSockets, nodeLease, writer } = this.#options;
    const keys = this.#options.keys[partition] as PartitionKeys;
    let cursor = '0';
    do {
      const command = ['SSCAN', keys.node(nodeId), cursor, 'COUNT', String(RESTORE_BATCH)] as const;
      const [reply] = await client.execute('restore', [command], { key: keys.nodes });
      const [next, members] = reply as unknown as [string, string[]];
      cursor = next;
      const isCurrent = nodeId === nodeLease.id;
      const orphans = members.filter((member) => !isCurrent || !localSockets.sockets.has(member));
      const request = { client, writer, keys, partition, owner: nodeId, grace };
      const keep = (key: string, room: string): boolean => isCurrent && localSockets.isWritten(key, room);
      await Promise.all(
        orphans.map(async (member) => {
          const [user, room = ''] = splitIds(member);
          if (isCurrent && user === '' && localSockets.isInRoom(room)) return;
          await removeOwned({ ...request, keep }, member);
        }),
      );
    } while (cursor !== '0');
  }

  /** Partitions with local sockets. */
  #partitions(): number[] {
    return [...new Set([...this.#options.localSockets.sockets.values()].map(({ partition }) => partition))];
  }
}
