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
  /** Number of loaded events to keep besides the limit. */
  readonly maxLoaded?: number | undefined;
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
  /** The need for members of each component. */
  readonly #memberRequests = new Set<Pick<RoomRequest, 'members'>>();
  /** The members that the room's join asks for. */
  #followed: RoomRequest['members'];
  /** When the client was closed, in ms since the epoch. */
  #closedAt = 0;
  #stopListening = (): void => {};

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
      // Also while joining: without a connection the next state may be far away.
      () => this.#listeners.notifySoon(),
    );
    this.attach((room) => {
      const changed = () => {
        this.hasJoined ||= room.state === 'joined';
        if (room.state === 'left') this.#closedAt = Date.now();
        // A refused room is joined again with what it was first asked for.
        this.#followMembers();
        this.#listeners.notify();
      };
      this.hasJoined ||= room.state === 'joined';
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
    const memberRequest = { members: request.members };
    this.#memberRequests.add(memberRequest);
    this.#followMembers();
    const forget = this.#listeners.add(listener);
    const release = this.#refCount.acquire();
    return () => {
      forget();
      release();
      // Another component may follow them in the same turn.
      if (this.#memberRequests.delete(memberRequest)) setTimeout(() => this.#followMembers());
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
    const log = known ?? new RoomTimeline(names, this.sends, () => this.#changedSoon(), request);
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

  /** The first `info` counts, and the largest `last` and `linger`. */
  #merge({ last, info, linger }: RoomRequest): void {
    const old = this.#request;
    const mine = old.info === undefined || (info !== undefined && !this.#refCount.inUse);
    this.#request = {
      last: Math.max(last ?? 0, old.last ?? 0),
      info: mine ? info : old.info,
      linger: Math.max(linger ?? 0, old.linger ?? 0),
    };
    // A later join would replace it as well.
    if (this.#isJoinable && mine && info !== undefined && info !== old.info)
      // The client emits its error.
      void this.#client.join(this.#name, { info }).leave();
  }

  get #isJoinable(): boolean {
    return this.room?.state === 'joining' || this.room?.state === 'joined';
  }

  /** The list if any component needs it, or else the number. */
  get #neededMembers(): RoomRequest['members'] {
    const needed = [...this.#memberRequests].map(({ members }) => members);
    return needed.includes(true) || needed.find(Boolean);
  }

  /** Joins with the members that are needed now. While the room lingers without components, they stay. */
  #followMembers(): void {
    const members = this.#neededMembers;
    if (members === this.#followed || !this.#refCount.inUse || !this.#isJoinable) return;
    this.#followed = members;
    const former = this.room;
    // In this order, so that the room is not left.
    this.room = this.#client.join(this.#name, { members });
    void former?.leave();
  }

  #open(): void {
    try {
      this.#join();
    } catch (error) {
      for (const { reject } of this.#waiters.splice(0)) reject(error);
      throw error;
    }
    // A room that was refused has ended with the closed client as well.
    let wasClosed = this.#client.state === 'closed';
    this.#stopListening = this.#client.on('state', (state) => {
      const isReopened = wasClosed && state !== 'closed';
      wasClosed = state === 'closed';
      if (isReopened && this.room) this.#reopen(this.room);
    });
    // A closed client returns a room that is already `left`, without an event.
    this.#listeners.notify();
  }

  /** A client that was closed connects again: the lists go on where they end, or show the gap. */
  #reopen({ position }: Room): void {
    this.#detach();
    if (this.hasJoined && position === undefined) {
      const gap = { reason: 'reconnected', since: this.#closedAt, recovered: false };
      for (const log of this.#logs.values()) log.addGap(gap);
      this.sends.onGap();
    }
    this.#join(position);
    this.#listeners.notify();
  }

  #join(since?: string): void {
    const { last, info } = this.#request;
    this.#followed = this.#neededMembers;
    const room = this.#client.join(this.#name, { last, info, since, members: this.#followed });
    this.room = room;
    for (const { resolve } of this.#waiters.splice(0)) resolve(room);
    for (const each of this.#attachments) each.detach = each.attach(room);
  }

  #detach(): void {
    for (const each of this.#attachments) {
      each.detach?.();
      each.detach = undefined;
    }
  }

  #leave(): void {
    for (const { reject } of this.#waiters.splice(0))
      reject(new ClientError('CLOSED', `the room ${this.#name} is not in use any longer`));
    this.#stopListening();
    this.#detach();
    void this.room?.leave();
    this.room = undefined;
  }
}

function timelineKey({ key, around, maxLoaded }: TimelineRequest): string {
  return `${key} ${around} ${maxLoaded}`;
}
