import type {
  PresenceChange,
  PresenceService,
  PresenceWatch,
  RoomChange,
  RoomMember,
  RoomWatch,
  WatchedPresence,
} from '../../../src/index.js';
import { ErrorReporter } from '../../../src/internal/diagnostics.js';
import { ViewerFilter } from '../../../src/internal/viewer-filter.js';
import { PeerWriter } from '../../../src/rooms/peer-writer.js';
import { FakeClock } from '../../support/fake-clock.js';
import { type Deferred, deferred } from '../../support/wait.js';

/** A watch whose replies and changes a test controls. */
export class FakeRoomWatch implements RoomWatch {
  readonly answer: Deferred<RoomWatch> = deferred();
  readonly members = new Map<string, RoomMember>();
  closed = 0;

  constructor(
    readonly room: string,
    readonly handler: (change: RoomChange) => unknown,
  ) {}

  get size(): number {
    return this.members.size;
  }

  current(): Map<string, RoomMember> {
    return new Map(this.members);
  }

  async close(): Promise<void> {
    this.closed++;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  ready(): void {
    this.answer.resolve(this);
  }

  join(userId: string, sockets = 1): void {
    const member = { userId, info: null, sockets, version: 1 };
    const type = this.members.has(userId) ? 'update' : 'join';
    this.members.set(userId, member);
    this.handler({ ...member, type, room: this.room });
  }

  leave(userId: string): void {
    this.members.delete(userId);
    this.handler({ userId, info: null, sockets: 1, version: 2, type: 'leave', room: this.room });
  }
}

/** A watch of users whose additions a test answers. */
export class FakeWatch implements PresenceWatch {
  readonly known = new Map<string, WatchedPresence>();
  readonly watched = new Set<string>();
  readonly adding: (Deferred<void> & { users: string[] })[] = [];
  closed = 0;

  constructor(readonly handler: (change: PresenceChange) => unknown) {}

  current(): Map<string, WatchedPresence> {
    return new Map(this.known);
  }

  get(userId: string): WatchedPresence | undefined {
    return this.known.get(userId);
  }

  add(userIds: Iterable<string>): Promise<void> {
    const users = [...userIds];
    for (const userId of users) this.watched.add(userId);
    const answer = Object.assign(deferred(), { users });
    this.adding.push(answer);
    return answer.promise;
  }

  remove(userIds: Iterable<string>): void {
    for (const userId of userIds) this.watched.delete(userId);
  }

  async close(): Promise<void> {
    this.closed++;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  change(userId: string, status: string): void {
    const change = { userId, status, lastSeen: new Date(5), version: 1, sockets: 1 };
    this.known.set(userId, change);
    this.handler({ ...change, previous: 'offline' });
  }
}

/** A presence service that a test controls. */
export function presenceFixture() {
  const rooms: FakeRoomWatch[] = [];
  const watches: FakeWatch[] = [];
  let refused: Error | undefined;
  const presence = {
    watchRoom: (room: string, handler: (change: RoomChange) => unknown) => {
      const watch = new FakeRoomWatch(room, handler);
      rooms.push(watch);
      return watch.answer.promise;
    },
    watch: async (_: Iterable<string>, handler: (change: PresenceChange) => unknown) => {
      if (refused !== undefined) throw refused;
      const watch = new FakeWatch(handler);
      watches.push(watch);
      return watch;
    },
  } as unknown as PresenceService;
  const clock = new FakeClock();
  const writer = (visible?: (userId: string) => boolean) => {
    const got: unknown[] = [];
    const peer = {
      bufferedAmount: 0,
      onSend: undefined as (() => void) | undefined,
      confirm: undefined as unknown as (done: () => void) => void,
      send: (frame: string | Buffer) => {
        got.push(JSON.parse(String(frame)));
        peer.onSend?.();
      },
      close: () => {},
    };
    const counters = { delivered: 0, dropped: 0, closedSlow: 0 };
    const settings = {
      clock,
      reporter: new ErrorReporter(undefined),
      maxBufferedBytes: 1_000_000,
      slowPeers: 'close',
      counters,
    } as const;
    const filter = visible && new ViewerFilter(visible, () => false, settings.reporter);
    return { got, peer, writer: new PeerWriter(peer, settings, { detach: () => {} }, filter) };
  };
  return {
    presence,
    clock,
    rooms,
    watches,
    writer,
    refuse: (error: Error | undefined) => {
      refused = error;
    },
  };
}
