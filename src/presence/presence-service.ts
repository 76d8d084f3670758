import { systemClock } from '../clock.js';
import { encodeJson, type Json, jsonCodec } from '../codec.js';
import { Reporter } from '../diagnostics.js';
import { ConfigurationError, InvalidArgumentError, LimitError } from '../errors.js';
import { PartitionKeys } from '../keys.js';
import { Audience, Member } from '../pubsub/delivery.js';
import { type Hub, hubFor } from '../pubsub/hub.js';
import { type Leaving, type Subscription, subscribe } from '../pubsub/subscribe.js';
import { Link } from '../redis/link.js';
import { sessionFor } from '../redis/session.js';
import {
  assertFunction,
  assertName,
  assertOptions,
  assertSignal,
  assertStatus,
  numberOption,
} from '../validate.js';
import { address, PresenceNode, processOf } from './node.js';
import type {
  ClosePresenceOptions,
  OnlineUsersOptions,
  PresenceOptions,
  PresenceStats,
  RemoveSocketOptions,
} from './options.js';
import { PresenceReader } from './presence-reader.js';
import { PresenceStore } from './presence-store.js';
import { Reaper } from './reaper.js';
import { unpackChange, unpackRecord } from './record.js';
import { type PresenceSettings, readSettings } from './settings.js';
import type { PresenceChange, PresenceData, Status } from './types.js';

const HANDOFF_GRACE = 10_000;

/**
 * Who is online, on which sockets, with which status, over all processes on one Redis.
 *
 * @example
 * ```ts
 * const presence = new PresenceService({ redis, grace: 10_000 });
 * wss.on('connection', async (ws, request) => {
 *   const userId = authenticate(request), socketId = crypto.randomUUID();
 *   await presence.setPresence(userId, socketId, 'online');
 *   ws.on('close', () => presence.removeSocket(userId, socketId));
 * });
 * ```
 */
export class PresenceService {
  readonly #settings: PresenceSettings;
  readonly #link: Link;
  readonly #hub: Hub;
  readonly #keys: readonly PartitionKeys[];
  readonly #reporter: Reporter;
  readonly #audience: Audience;
  readonly #node: PresenceNode;
  readonly #store: PresenceStore;
  readonly #reader: PresenceReader;
  readonly #reaper: Reaper;
  /** What `close` has to undo. */
  readonly #leaving: Leaving = new Set();
  #started: Promise<void> | undefined;
  #inbox: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  /** @throws {@link InvalidArgumentError} for an unknown client or an option out of range. */
  constructor(options: PresenceOptions) {
    const settings = readSettings(options);
    const { onError, clock = systemClock } = options;
    this.#settings = settings;
    this.#reporter = new Reporter(onError);
    this.#audience = new Audience(jsonCodec, this.#reporter);
    const session = sessionFor(options.redis);
    const link = new Link('PresenceService', session, settings.timeout, clock);
    this.#link = link;
    this.#hub = hubFor(session, clock);
    const keys = [new PartitionKeys(settings.prefix, 0)];
    this.#keys = keys;
    const reporter = this.#reporter;
    this.#node = new PresenceNode({
      ...settings,
      name: settings.nodeName,
      link,
      keys,
      reporter,
      onDoubt: () => this.#reaper.doubt(),
    });
    this.#store = new PresenceStore({
      ...settings,
      link,
      keys,
      statuses: settings.statusPriority,
      gate: () => this.#start(),
      nodeId: () => this.#node.id,
      leases: this.#node,
    });
    this.#node.attach(this.#store);
    this.#reader = new PresenceReader(link, keys);
    this.#reaper = new Reaper({
      ...settings,
      link,
      keys,
      store: this.#store,
      reporter,
      nodeId: () => this.#node.id,
    });
  }

  /**
   * Connects the client unless it is connected, and starts to look after leases. Idempotent; the
   * first use implies it.
   *
   * @throws {@link ConnectionError} when Redis cannot be reached within `timeout`;
   * {@link ConfigurationError} when the keys were written by services with other partitions.
   */
  connect(): Promise<void> {
    return this.#start();
  }

  /**
   * Registers a socket of a user, or updates it; resolves with the user's presence after it. The
   * record is written, and a change of status published, in one atomic step.
   *
   * Calls for one socket take effect in the order they were made. Of several under way at once, all
   * may resolve with the state after the last one.
   *
   * @throws {@link InvalidArgumentError} for bad ids, status or meta; {@link LimitError} when the
   * user has too many sockets; {@link TimeoutError}, {@link ConnectionError}, {@link CommandError}.
   * After a failed call the socket is as it was before it; if need be that is made so later.
   */
  async setPresence(
    userId: string,
    socketId: string,
    status: Status = 'online',
    meta?: Json,
  ): Promise<PresenceData> {
    this.#assertOpen();
    assertName('userId', userId);
    assertName('socketId', socketId);
    assertStatus('status', status);
    const text = this.#encodeMeta(meta);
    this.#listenToInbox();
    const { partition, user, socket } = address(userId, socketId, this.#keys.length);
    const isNew = !this.#node.owns(user, socket);
    const record = await this.#node.set(partition, user, socket, status, text);
    if (record === null) return absent(userId);
    const data = unpackRecord(userId, record);
    const limit = this.#settings.maxSocketsPerUser;
    if (isNew && data.sockets.length > limit) {
      await this.#node.remove(partition, user, socket, 0);
      throw new LimitError(`user ${JSON.stringify(userId)} has ${limit} sockets already (maxSocketsPerUser)`);
    }
    return data;
  }

  /**
   * Removes a socket; resolves with the user's presence after it, or `null` where nothing is known
   * of him. Unknown sockets are no error. A socket that this process registered loses that
   * registration only; a socket of other processes loses all, and they are told.
   *
   * @throws {@link InvalidArgumentError}, {@link TimeoutError}, {@link ConnectionError},
   * {@link CommandError}. A removal that failed is made up for as soon as Redis is back.
   */
  async removeSocket(
    userId: string,
    socketId: string,
    options?: RemoveSocketOptions,
  ): Promise<PresenceData | null> {
    this.#assertOpen();
    assertName('userId', userId);
    assertName('socketId', socketId);
    assertOptions('options', options);
    const grace = options?.immediate === true ? 0 : this.#settings.grace;
    const { partition, user, socket } = address(userId, socketId, this.#keys.length);
    const record = this.#node.owns(user, socket)
      ? await this.#node.remove(partition, user, socket, grace)
      : await this.#removeForeign(partition, user, socket, grace);
    return record === null ? null : unpackRecord(userId, record);
  }

  /** What is known of a user; `null` when he was never seen, or is forgotten (`lastSeenTtl`). */
  async getPresence(userId: string): Promise<PresenceData | null> {
    return (await this.getMultiplePresence([userId])).get(userId) ?? null;
  }

  /**
   * What is known of many users, in one round trip: a MGET per 1,000 of them. Users nobody knows
   * are not in the map; the others stand in it in the order they were asked for.
   */
  async getMultiplePresence(userIds: Iterable<string>): Promise<Map<string, PresenceData>> {
    this.#assertOpen();
    const ids = idSet(userIds);
    await this.#start();
    return ids.size === 0 ? new Map() : this.#reader.lookup(ids);
  }

  /** How many users are online, in any status but `offline`. */
  async onlineCount(): Promise<number> {
    this.#assertOpen();
    await this.#start();
    return this.#reader.count();
  }

  /**
   * The users online, fetched page by page. Whoever stays online throughout is listed exactly once;
   * whoever comes or goes meanwhile may be listed or not.
   */
  onlineUsers(options: OnlineUsersOptions = {}): AsyncIterableIterator<string> {
    this.#assertOpen();
    assertOptions('options', options);
    const pageSize = numberOption('pageSize', options.pageSize, 1_000, {
      min: 1,
      max: 100_000,
      integer: true,
    });
    assertSignal(options.signal);
    return this.#online(pageSize, options.signal);
  }

  /** Calls `handler` with every change of any user's status, in order per user. */
  async onChange(handler: (change: PresenceChange) => void): Promise<Subscription> {
    this.#assertOpen();
    assertFunction('handler', handler);
    const member = new Member(
      this.#audience,
      (batch, context) => {
        for (const packed of batch as readonly unknown[]) {
          // Left in the middle of a batch: the rest is not for this handler any more.
          if (!member.active) return;
          try {
            handler(unpackChange(packed));
          } catch (error) {
            this.#reporter.handlerFailed(error, { channel: context.channel });
          }
        }
      },
      false,
    );
    await this.#start();
    const names = this.#keys.map((keys) => keys.events);
    return subscribe({
      link: this.#link,
      hub: this.#hub,
      leaving: this.#leaving,
      kind: 'channel',
      names,
      member,
    });
  }

  /** Counters and gauges. */
  stats(): PresenceStats {
    const { reapedNodes, reapedSockets, late } = this.#reaper.stats;
    return {
      nodeId: this.#node.id,
      sockets: this.#node.size,
      ...this.#store.stats,
      reapedNodes,
      reapedSockets,
      restored: this.#node.restored,
      lateNodes: [...late],
    };
  }

  /**
   * Removes this process's sockets, in large transactions, and lets go of its lease and its
   * subscriptions. With Redis away it gives up after `timeout`: the others then see the lease run
   * out. Idempotent.
   */
  close(options?: ClosePresenceOptions): Promise<void> {
    this.#closing ??= this.#close(options?.handoff === true);
    return this.#closing;
  }

  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw this.#link.closedError();
  }

  #start(): Promise<void> {
    this.#started ??= this.#startOnce().catch((error: unknown) => {
      this.#started = undefined;
      throw error;
    });
    return this.#started;
  }

  async #startOnce(): Promise<void> {
    await this.#link.connect();
    await this.#checkLayout();
    if (this.#closing !== undefined) return;
    this.#node.start();
    this.#reaper.start();
  }

  /** The number of partitions decides where a user is: two services must not disagree about it. */
  async #checkLayout(): Promise<void> {
    const { layout } = this.#keys[0] as PartitionKeys;
    const mine = String(this.#keys.length);
    const [, found] = await this.#link.run(
      'connect',
      [
        ['SETNX', layout, mine],
        ['GET', layout],
      ],
      { key: layout },
    );
    if (found === mine) return;
    throw new ConfigurationError(
      `the presence data under prefix ${JSON.stringify(this.#settings.prefix)} is laid out in ${String(found)} partitions, this service uses ${mine}`,
    );
  }

  /** Other processes tell the owner of a socket there that they removed it. */
  #listenToInbox(): void {
    if (this.#inbox !== undefined) return;
    const channel = (this.#keys[0] as PartitionKeys).inbox(this.#node.process);
    const member = new Member(
      this.#audience,
      (pairs) => this.#node.removedElsewhere(pairs as readonly string[]),
      false,
    );
    this.#leaving.add(() => this.#hub.leave('channel', channel, member));
    this.#inbox = this.#hub.join('channel', channel, member).catch((error) => {
      this.#reporter.report(error, { stage: 'subscribe', channel });
      this.#inbox = undefined;
    });
  }

  async #removeForeign(
    partition: number,
    user: string,
    socket: string,
    grace: number,
  ): Promise<string | null> {
    await this.#start();
    const owners = await this.#reader.owners(partition, user, socket);
    if (owners.length === 0) return this.#reader.record(partition, user);
    const records = await Promise.all(
      owners.map((owner) =>
        this.#store.apply(partition, {
          user,
          socket,
          owner,
          grace,
          tell: (this.#keys[0] as PartitionKeys).inbox(processOf(owner)),
        }),
      ),
    );
    return records.at(-1) ?? null;
  }

  async *#online(pageSize: number, signal: AbortSignal | undefined): AsyncGenerator<string, void, undefined> {
    await this.#start();
    yield* this.#reader.online(pageSize, signal);
  }

  #encodeMeta(meta: Json | undefined): string | undefined {
    if (meta === undefined) return undefined;
    const text = encodeJson('meta', meta);
    const bytes = Buffer.byteLength(text);
    const limit = this.#settings.maxMetaBytes;
    if (bytes > limit)
      throw new InvalidArgumentError('meta', `is ${bytes} bytes of JSON; maxMetaBytes is ${limit}`);
    return text;
  }

  async #close(handoff: boolean): Promise<void> {
    const grace = handoff ? Math.max(this.#settings.grace, HANDOFF_GRACE) : 0;
    if (this.#started !== undefined && this.#link.session.ready) {
      await this.#link
        .bounded('close', () => this.#node.removeAll(grace))
        .catch((error) => {
          this.#reporter.report(error, { stage: 'repair' });
        });
    }
    this.#node.stop();
    const undone = Promise.allSettled([...this.#leaving].map((leave) => leave()));
    if (this.#link.session.ready) await this.#link.bounded('close', () => undone).catch(() => {});
    this.#store.close(this.#link.closedError());
    const stopped = this.#reaper.stop();
    await this.#link.close();
    await stopped;
  }
}

function idSet(userIds: Iterable<string>): Set<string> {
  if (typeof userIds === 'string' || typeof userIds?.[Symbol.iterator] !== 'function') {
    throw new InvalidArgumentError('userIds', 'must be an iterable of user ids');
  }
  const ids = new Set(userIds);
  for (const id of ids) assertName('userId', id);
  return ids;
}

/** A user whom somebody else removed before the answer came. */
function absent(userId: string): PresenceData {
  return { userId, status: 'offline', lastSeen: new Date(0), socketIds: [], sockets: [], version: 0 };
}
