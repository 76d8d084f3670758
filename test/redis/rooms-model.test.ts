import type { RoomSocket } from 'rollcall';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { ioredis, nodeRedis } from '../shared/redis-clients.js';
import { numbers, RoomsFixture, TestPeer, type TestServer } from '../shared/rooms-fixture.js';
import { type Arbitrary, fc } from '../support/property.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';

// Random days in some rooms on two servers, against a model that knows only who is where, and what was
// said meanwhile. People move between the servers and connections break while others talk.

const PEOPLE = 4;
const ROOMS = 2;

let redis: RedisServer;
const ends: (() => void)[] = [];
let makers = 0;
const fixture = new RoomsFixture(() => ({
  client: () => {
    const { client, end } = (makers++ % 2 === 0 ? nodeRedis : ioredis)(redis.port);
    ends.push(end);
    return client;
  },
  end: async () => {},
}));
beforeAll(async () => {
  redis = await startRedis();
});
afterEach(async () => {
  await fixture.end();
  for (const end of ends.splice(0)) end();
});
afterAll(() => redis.stop());

type Talk =
  | { do: 'say'; room: number; server: number; count: number; except?: number }
  | { do: 'move'; person: number }
  | { do: 'kill' };
type Step =
  | Talk
  | { do: 'join' | 'leave'; person: number; room: number }
  | { do: 'go'; person: number }
  | { do: 'together'; steps: Talk[] };

const person = fc.nat(PEOPLE - 1);
const room = fc.nat(ROOMS - 1);
const server = fc.nat(1);
const talk: Arbitrary<Talk> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record(
      {
        do: fc.constant('say' as const),
        room,
        server,
        count: fc.integer({ min: 1, max: 20 }),
        except: person,
      },
      { requiredKeys: ['do', 'room', 'server', 'count'] },
    ),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('move' as const), person }) },
  { weight: 1, arbitrary: fc.constant({ do: 'kill' as const }) },
);
const step: Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('join' as const), person, room }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('leave' as const), person, room }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('go' as const), person }) },
  { weight: 4, arbitrary: talk },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('together' as const),
      steps: fc.array(talk, { minLength: 2, maxLength: 5 }),
    }),
  },
);

const timeOf = (position: string) => Number(position.split('-')[0]);

/** A message, and the socket at that time that must not receive it. */
interface Said {
  readonly number: number;
  readonly position: string;
  readonly except: string | undefined;
}

/** A user's connection of now, and all messages received on it and on earlier ones. */
class Person {
  readonly received = new Map<string, number[]>();
  /** From which position on messages of a room are his; up to where they were, when he left. */
  readonly stays = new Map<string, { from: string; to?: string }[]>();
  readonly rooms = new Set<string>();
  /** Every socket he ever had. */
  readonly ids = new Set<string>();
  peer = new TestPeer();
  socket: RoomSocket | undefined;
  server = 0;
  /** The last position he knows of each room. */
  readonly positions = new Map<string, string>();

  constructor(readonly userId: string) {}

  /** Takes down what has come by the connection, which ends. */
  note(): void {
    for (const { type, room, position, data, event } of this.peer.frames) {
      if (room === undefined) continue;
      if (position !== undefined) this.knows(room, position);
      if (type === 'event' && event === 'said') this.receivedIn(room).push(data as number);
    }
    this.peer = new TestPeer();
  }

  /** The user's position of the room, unless the reply to a later join was further. */
  knows(room: string, position: string): void {
    const known = this.positions.get(room);
    if (known === undefined || timeOf(position) > timeOf(known)) this.positions.set(room, position);
  }

  receivedIn(room: string): number[] {
    let received = this.received.get(room);
    if (received === undefined) {
      received = [];
      this.received.set(room, received);
    }
    return received;
  }

  /** All that has come of a room so far. */
  all(room: string): number[] {
    return [...(this.received.get(room) ?? []), ...(this.peer.receivedData(room) as number[])];
  }
}

class Day {
  readonly servers: readonly TestServer[];
  readonly rooms = numbers(0, ROOMS).map(() => fixture.fresh('{room}'));
  // Two of them are one user.
  readonly people = numbers(0, PEOPLE).map((at) => new Person(`user ${at % (PEOPLE - 1)}`));
  readonly said = new Map<string, Said[]>();
  #count = 0;

  constructor() {
    const options = { rooms: { history: { size: 1_000, ttl: 60_000 } } };
    this.servers = [fixture.server(options), fixture.server(options)];
  }

  async begin(): Promise<void> {
    // Before the first message it is unknown whether there was one.
    for (const room of this.rooms) await this.say(room, 0, 1);
  }

  async run(step: Step): Promise<void> {
    switch (step.do) {
      case 'together':
        await Promise.all(distinct(step.steps).map((each) => this.run(each)));
        return;
      case 'say': {
        const except = step.except === undefined ? undefined : this.people[step.except]?.socket?.id;
        return this.say(this.rooms[step.room] as string, step.server, step.count, except);
      }
      case 'kill':
        await redis.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
        return;
      case 'move':
        return this.move(this.people[step.person] as Person);
      case 'go':
        return this.go(this.people[step.person] as Person);
      case 'join':
        return this.join(this.people[step.person] as Person, this.rooms[step.room] as string);
      case 'leave':
        return this.leave(this.people[step.person] as Person, this.rooms[step.room] as string);
    }
  }

  async say(room: string, server: number, count: number, except?: string): Promise<void> {
    const said = this.said.get(room) ?? [];
    this.said.set(room, said);
    const saying = numbers(0, count).map(async () => {
      const number = ++this.#count;
      const options = except === undefined ? {} : { except };
      const { rooms } = this.servers[server] as TestServer;
      const { position } = await rooms.broadcast(room, 'said', number, options);
      said.push({ number, position: position as string, except });
    });
    await Promise.all(saying);
  }

  async join(who: Person, room: string): Promise<void> {
    if (who.rooms.has(room)) return;
    // A server may learn of what was said before only after he has come.
    await this.settled(room);
    who.socket ??= await this.attach(who);
    const { peer } = who;
    const before = peer.frames.length;
    const { position } = await who.socket.join(room);
    who.rooms.add(room);
    who.knows(room, position as string);
    // His server may have been behind, after a broken connection: then he begins where it was.
    const early = peer.frames
      .slice(before)
      .find((frame) => frame.room === room && frame.position !== undefined);
    const from = early === undefined ? (position as string) : this.#before(room, early.position as string);
    const stays = who.stays.get(room) ?? [];
    stays.push({ from });
    who.stays.set(room, stays);
  }

  async leave(who: Person, room: string): Promise<void> {
    if (!who.rooms.has(room)) return;
    await this.settled(room);
    await who.socket?.leave(room);
    this.#left(who, room);
  }

  async go(who: Person): Promise<void> {
    if (who.socket === undefined) return;
    for (const room of who.rooms) await this.settled(room);
    await who.socket.detach();
    who.socket = undefined;
    for (const room of [...who.rooms]) this.#left(who, room);
    who.note();
  }

  /** His connection breaks, and he comes back by the other server, with what he knows. */
  async move(who: Person): Promise<void> {
    if (who.socket === undefined) return;
    const leaving = who.socket.detach();
    who.note();
    who.server = 1 - who.server;
    who.socket = await this.attach(who);
    const { socket } = who;
    await Promise.all(
      [...who.rooms].map((room) => socket.join(room, { since: who.positions.get(room) as string })),
    );
    await leaving;
  }

  async attach(who: Person): Promise<RoomSocket> {
    const socket = await (this.servers[who.server] as TestServer).rooms.attach(who.peer, {
      userId: who.userId,
    });
    who.ids.add(socket.id);
    return socket;
  }

  #before(room: string, position: string): string {
    const positions = this.inOrder(room).map((said) => said.position);
    return positions[positions.indexOf(position) - 1] as string;
  }

  #left(who: Person, room: string): void {
    who.rooms.delete(room);
    const to = this.inOrder(room).at(-1)?.position as string;
    Object.assign(who.stays.get(room)?.at(-1) as object, { to });
  }

  inOrder(room: string): Said[] {
    return (this.said.get(room) ?? []).toSorted(
      (left, right) => timeOf(left.position) - timeOf(right.position),
    );
  }

  /** What is due to him of a room. */
  due(who: Person, room: string): Said[] {
    return (who.stays.get(room) ?? []).flatMap(({ from, to }) =>
      this.inOrder(room).filter(
        ({ position }) =>
          timeOf(position) > timeOf(from) && (to === undefined || timeOf(position) <= timeOf(to)),
      ),
    );
  }

  /** Everybody in the room has come to its end. */
  async settled(room: string): Promise<void> {
    await this.say(room, 0, 1);
    const last = this.inOrder(room).at(-1) as Said;
    const there = this.people.filter((who) => who.rooms.has(room));
    const done = () => there.every((who) => who.peer.receivedData(room).includes(last.number));
    await fixture.until(`the end of ${room}`, done, 15_000);
  }

  async check(): Promise<void> {
    for (const room of this.rooms) await this.settled(room);
    for (const who of this.people) {
      for (const room of this.rooms) {
        const due = this.due(who, room);
        // What he said himself he may get when he comes back with another socket.
        const got = new Set(who.all(room));
        const expected = due.filter(
          ({ number, except }) => except === undefined || !who.ids.has(except) || got.has(number),
        );
        expect(who.all(room)).toEqual(expected.map(({ number }) => number));
        expect(who.peer.of('discontinuity', room).filter(({ recovered }) => recovered !== true)).toEqual([]);
      }
    }
    for (const room of this.rooms) {
      const users = new Set(this.people.filter((who) => who.rooms.has(room)).map(({ userId }) => userId));
      const members = await (this.servers[0] as TestServer).presence.getRoomMembers(room);
      expect(new Set(members.map(({ userId }) => userId))).toEqual(users);
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.people.map((who) => who.socket?.detach()));
    for (const { rooms, pubsub, errors } of this.servers) {
      expect(rooms.stats()).toMatchObject({ sockets: 0, users: 0, rooms: 0, dropped: 0, closedSlow: 0 });
      expect(pubsub.stats().handlers).toBe(0);
      expect(errors).toEqual([]);
    }
    for (const room of this.rooms) {
      expect(await (this.servers[1] as TestServer).presence.getRoomMembers(room)).toEqual([]);
    }
    expect(await (this.servers[1] as TestServer).presence.getOnlineCount()).toBe(0);
    await fixture.end();
    for (const end of ends.splice(0)) end();
  }
}

/** A person moves once at a time. */
function distinct(steps: readonly Talk[]): Talk[] {
  const moving = new Set<number>();
  return steps.filter((each) => {
    if (each.do !== 'move') return true;
    if (moving.has(each.person)) return false;
    moving.add(each.person);
    return true;
  });
}

test('every peer receives the messages of its rooms while it is joined, once and in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
      const day = new Day();
      await day.begin();
      for (const each of steps) await day.run(each);
      await day.check();
      await day.end();
    }),
    { numRuns: 25, endOnFailure: true },
  );
});
