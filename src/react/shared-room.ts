import { type Client, ClientError, type MemberInfo, type Room } from '../client/index.js';
import { Listeners } from './listeners.js';
import { PendingSends } from './pending-sends.js';
import { RefCounted } from './ref-counted.js';
import { RoomTimeline } from './room-timeline.js';
import { shareMembers } from './share-members.js';

export interface RoomRequest {
  readonly last?: number | undefined;
  readonly info?: unknown;
  readonly members?: boolean | 'count' | undefined;
  readonly linger?: number | undefined;
}

export interface TimelineRequest {
  /** Equal for equal `names`. */
  readonly key: string;
  readonly names: readonly string[] | undefined;
  readonly limit: number;
  /** Number of events to begin with. */
  readonly last: number;
  /** Position to begin at, instead of the latest event. */
  readonly around?: string | undefined;
}

interface Attachment {
  readonly attach: (room: Room) => () => void;
  detach?: (() => void) | undefined;
}

/** Shared by all components that use the room: left after the last release. */
export class SharedRoom {
  readonly #client: Client;
  readonly #name: string;
  readonly #refCount: RefCounted;
  readonly #listeners = new Listeners();
  readonly #attachments = new Set<Attachment>();
  readonly #logs = new Map<string, RoomTimeline>();
  /** The users of each timeline around a position. */
  readonly #windows = new Map<string, RefCounted>();
  readonly #waiters: { resolve: (room: Room) => void; reject: (error: unknown) => void }[] = [];
  readonly sends: PendingSends;
  /** The same Map until it changes. */
  members: ReadonlyMap<string, MemberInfo> = new Map();
  count = 0;
  /** Undefined until all effects of the first render have run. */
  room: Room | undefined;
  /** The room was joined at least once since it was opened. */
  hasJoined = false;
  #request: RoomRequest = {};
  /** Each `join` needs a `leave`. */
  #joins = 0;

  constructor(client: Client, name: string, closed: () => void) {
    this.#client = client;
    this.#name = name;
    this.#refCount = new RefCounted({
      open: () => this.#open(),
      close: () => {
        this.#leave();
        closed();
      },
      linger: () => this.#request.linger ?? 0,
    });
    this.sends = new PendingSends(
      () => client.user,
      () => this.#changedSoon(),
    );
    this.attach((room) => {
      const changed = () => {
        this.hasJoined ||= room.state === 'joined';
        this.#listeners.notify();
      };
      this.hasJoined = room.state === 'joined';
      const readMembers = () => {
        this.members = shareMembers(this.members, room.members);
        this.count = room.count;
      };
      readMembers();
      const stops = [
        room.onState(changed),
        room.onTypingUsers(changed),
        // First, so that the lists know which events end a pending one.
        room.on('*', (_, context) => this.sends.onEvent(context)),
        room.onDiscontinuity(({ recovered }) => recovered || this.sends.onGap()),
        room.onMembers(() => {
          readMembers();
          this.#changedSoon();
        }),
      ];
      return () => {
        for (const stop of stops) stop();
      };
    });
  }

  /** `listener` is called after every change. */
  acquire(request: RoomRequest, listener: () => void): () => void {
    this.#merge(request);
    const forget = this.#listeners.add(listener);
    const release = this.#refCount.acquire();
    return () => {
      forget();
      release();
    };
  }

  /**
   * Resolves in a microtask after `acquire`, with the merged requests of all components. Rejects when the room
   * cannot be joined, or is released first.
   */
  whenOpen(): Promise<Room> {
    if (this.room) return Promise.resolve(this.room);
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Calls `attach` with the current and every later room. The returned function detaches. */
  attach(attach: (room: Room) => () => void): () => void {
    const attachment: Attachment = { attach };
    this.#attachments.add(attachment);
    attachment.detach = this.room && attach(this.room);
    return () => {
      this.#attachments.delete(attachment);
      attachment.detach?.();
    };
  }

  /**
   * Until the last release of the room, so that a component that mounts again finds the events. One around a position
   * only until the returned function is called by all of its components: there may be any number of positions.
   */
  addTimeline(request: TimelineRequest): () => void {
    const { names, limit, last, around } = request;
    const key = timelineKey(request);
    const known = this.#logs.get(key);
    const log = known ?? new RoomTimeline(names, this.sends, () => this.#changedSoon(), around);
    log.require(limit, last, this.room);
    if (!known) {
      this.#logs.set(key, log);
      const detach = this.attach((room) => log.attach(room));
      if (around !== undefined) {
        const close = () => {
          this.#logs.delete(key);
          this.#windows.delete(key);
          detach();
        };
        this.#windows.set(key, new RefCounted({ open() {}, close }));
      }
    }
    return this.#windows.get(key)?.acquire() ?? (() => {});
  }

  /** A component shows another timeline. */
  notify(): void {
    this.#listeners.notify();
  }

  /** One render per burst; none while joining, because the next state notifies. */
  #changedSoon(): void {
    if (this.room?.state !== 'joining') this.#listeners.notifySoon();
  }

  log(request: TimelineRequest): RoomTimeline | undefined {
    return this.#logs.get(timelineKey(request));
  }

  retry(): void {
    this.room?.retry();
  }

  get error(): ClientError | undefined {
    return this.room?.error;
  }

  /** The first `info` counts; the largest `last` and `linger`; the members, or their number, if any component needs them. */
  #merge({ last, info, members, linger }: RoomRequest): void {
    const { room } = this;
    const old = this.#request;
    const mine = old.info === undefined || (info !== undefined && !this.#refCount.inUse);
    this.#request = {
      last: Math.max(last ?? 0, old.last ?? 0),
      info: mine ? info : old.info,
      members: members === true || old.members || members,
      linger: Math.max(linger ?? 0, old.linger ?? 0),
    };
    if (room?.state !== 'joining' && room?.state !== 'joined') return;
    const news = {
      info: this.#request.info === old.info ? undefined : this.#request.info,
      members: this.#request.members === old.members ? undefined : members,
    };
    if (news.info !== undefined || news.members) this.#join(news);
  }

  #open(): void {
    let room: Room;
    try {
      room = this.#join(this.#request);
    } catch (error) {
      for (const { reject } of this.#waiters.splice(0)) reject(error);
      throw error;
    }
    this.room = room;
    for (const { resolve } of this.#waiters.splice(0)) resolve(room);
    for (const each of this.#attachments) each.detach = each.attach(room);
    // A closed client returns a room that is already `left`, without an event.
    this.#listeners.notify();
  }

  #join(options: RoomRequest): Room {
    this.#joins++;
    return this.#client.join(this.#name, options);
  }

  #leave(): void {
    for (const { reject } of this.#waiters.splice(0))
      reject(new ClientError('CLOSED', `the room ${this.#name} is not in use any longer`));
    for (const each of this.#attachments) {
      each.detach?.();
      each.detach = undefined;
    }
    const { room } = this;
    this.room = undefined;
    for (; this.#joins > 0; this.#joins--) void room?.leave();
  }
}

function timelineKey({ key, around }: TimelineRequest): string {
  return around === undefined ? key : `${key} ${around}`;
}
