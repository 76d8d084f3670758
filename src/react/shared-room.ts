import type { Client, ClientError, MemberInfo, Room } from '../client/index.js';
import { Listeners } from './listeners.js';
import { RefCounted } from './ref-counted.js';
import { RoomTimeline } from './room-timeline.js';
import { shareMembers } from './share-members.js';

/** What a component wants of a room. */
export interface RoomRequest {
  readonly last?: number | undefined;
  readonly info?: unknown;
  readonly members?: boolean | undefined;
}

/** Which events to collect. */
export interface TimelineRequest {
  /** The same for the same events. */
  readonly key: string;
  readonly names: readonly string[] | undefined;
  readonly limit: number;
}

interface Attachment {
  readonly attach: (room: Room) => () => void;
  detach?: (() => void) | undefined;
}

/** One room of a client, for all components that want it: joined once, left when the last of them has gone. */
export class SharedRoom {
  readonly #client: Client;
  readonly #name: string;
  readonly #lease: RefCounted;
  readonly #listeners = new Listeners();
  readonly #attachments = new Set<Attachment>();
  readonly #logs = new Map<string, RoomTimeline>();
  /** The same Map until it changes. */
  members: ReadonlyMap<string, MemberInfo> = new Map();
  /** Undefined until all effects of the first render have run. */
  room: Room | undefined;
  #wish: RoomRequest = {};
  /** How often it has to be left. */
  #joins = 0;

  /** `closed` is called when nobody wants it any more. */
  constructor(client: Client, name: string, closed: () => void) {
    this.#client = client;
    this.#name = name;
    this.#lease = new RefCounted({
      open: () => this.#open(),
      close: () => {
        this.#leave();
        closed();
      },
    });
    this.attach((room) => {
      const changed = () => this.#listeners.notify();
      const count = () => {
        this.members = shareMembers(this.members, room.members);
      };
      count();
      const stops = [
        room.onState(changed),
        room.onTypingUsers(changed),
        room.onMembers(() => {
          count();
          this.#changedSoon();
        }),
      ];
      return () => {
        for (const stop of stops) stop();
      };
    });
  }

  /** Holds the room; returns how to let it go. `listener` is called after anything has changed. */
  acquire(wish: RoomRequest, listener: () => void): () => void {
    this.#merge(wish);
    const forget = this.#listeners.add(listener);
    const release = this.#lease.acquire();
    return () => {
      forget();
      release();
    };
  }

  /** The room, once it is opened. To be called while the room is held. */
  async whenOpen(): Promise<Room> {
    // It is opened in a microtask after `acquire`, together with the wishes of all components of a render.
    while (!this.room) await Promise.resolve();
    return this.room;
  }

  /** Does something with the room now or when there is one, and with each that takes its place; returns how to undo it. */
  attach(attach: (room: Room) => () => void): () => void {
    const attachment: Attachment = { attach };
    this.#attachments.add(attachment);
    attachment.detach = this.room && attach(this.room);
    return () => {
      this.#attachments.delete(attachment);
      attachment.detach?.();
    };
  }

  /** Collects events from now on; as long as the room is held at all, so that whoever comes back finds them. */
  addTimeline({ key, names, limit }: TimelineRequest, last: number): void {
    const log = this.#logs.get(key) ?? new RoomTimeline(names, () => this.#changedSoon());
    log.require(limit, last, this.room);
    if (this.#logs.has(key)) return;
    this.#logs.set(key, log);
    this.attach((each) => log.attach(each));
  }

  /** Shows a burst of changes in one render. While the room is being joined, its next state shows them. */
  #changedSoon(): void {
    if (this.room?.state !== 'joining') this.#listeners.notifySoon();
  }

  /** What was collected. */
  log(key: string): RoomTimeline | undefined {
    return this.#logs.get(key);
  }

  /** Asks again for a room that was refused: it resumes where its lists end. */
  retry(): void {
    this.room?.retry();
  }

  get error(): ClientError | undefined {
    return this.room?.error;
  }

  /**
   * For `info` the first who says it wins, as long as anybody stays; `last` is the largest, members are for whoever
   * wants them.
   */
  #merge({ last, info, members }: RoomRequest): void {
    const { room } = this;
    const old = this.#wish;
    const mine = old.info === undefined || (info !== undefined && !this.#lease.inUse);
    this.#wish = {
      last: Math.max(last ?? 0, old.last ?? 0),
      info: mine ? info : old.info,
      members: old.members || members,
    };
    if (room?.state !== 'joining' && room?.state !== 'joined') return;
    const news = {
      info: this.#wish.info === old.info ? undefined : this.#wish.info,
      members: !old.members && members,
    };
    if (news.info !== undefined || news.members) this.#join(news);
  }

  #open(): void {
    const room = this.#join(this.#wish);
    this.room = room;
    for (const each of this.#attachments) each.detach = each.attach(room);
    // A client that is closed gives a room that is left, and tells nothing.
    this.#listeners.notify();
  }

  #join(options: RoomRequest): Room {
    this.#joins++;
    return this.#client.join(this.#name, options);
  }

  #leave(): void {
    for (const each of this.#attachments) {
      each.detach?.();
      each.detach = undefined;
    }
    const { room } = this;
    this.room = undefined;
    for (; this.#joins > 0; this.#joins--) void room?.leave();
  }
}
