import { EventEmitter } from 'node:events';
import {
  ClosedError,
  ConnectionError,
  InvalidArgumentError,
  LimitError,
  type PresenceChange,
  type PresenceData,
  TimeoutError,
  UnsupportedError,
} from 'rollcall';
import {
  type PresenceTracker,
  type RelayedPubSub,
  type TrackedPresence,
  type TrackPresenceOptions,
  trackPresence,
} from 'rollcall/socket.io';
import { beforeEach, describe, expect, test } from 'vitest';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { deferred } from '../../support/wait.js';

type Sent = [to: string | string[], event: string, ...args: unknown[]];

/** The part of a Socket.IO namespace that rollcall uses. */
class Space extends EventEmitter {
  readonly name = '/';
  readonly sockets = new Map<string, FakeSocket>();
  readonly adapter = new EventEmitter();
  readonly sent: Sent[] = [];
  cluster: readonly Space[] = [];
  server: object = { _opts: {} };
  readonly local = {
    emit: (event: string, ...args: unknown[]) => this.sent.push(['*', event, ...args]),
    to: (to: string | string[]) => ({
      emit: (event: string, ...args: unknown[]) => this.sent.push([to, event, ...args]),
    }),
  };

  /** Carries events to the other servers of a cluster. */
  serverSideEmit(event: string, ...args: unknown[]): void {
    for (const other of this.cluster) if (other !== this) other.emit(event, ...args);
  }

  recoverable(maxDisconnectionDuration = 120_000): this {
    this.server = { _opts: { connectionStateRecovery: { maxDisconnectionDuration } } };
    return this;
  }

  connect(id: string, data: object = {}, more: { recovered?: boolean; rooms?: string[] } = {}): FakeSocket {
    const socket = new FakeSocket(this, id, data, more.recovered ?? false);
    for (const room of [id, ...(more.rooms ?? [])]) socket.rooms.add(room);
    this.sockets.set(id, socket);
    this.emit('connection', socket);
    return socket;
  }
}

class FakeSocket extends EventEmitter {
  connected = true;
  readonly rooms = new Set<string>();
  readonly #any = new Set<(...args: unknown[]) => void>();

  constructor(
    readonly nsp: Space,
    readonly id: string,
    readonly data: object,
    readonly recovered: boolean,
  ) {
    super();
  }

  onAny(listener: (...args: unknown[]) => void): void {
    this.#any.add(listener);
  }

  offAny(listener: (...args: unknown[]) => void): void {
    this.#any.delete(listener);
  }

  get listening(): number {
    return this.#any.size + this.eventNames().reduce((sum, name) => sum + this.listenerCount(name), 0);
  }

  /** Receives an event of the client. */
  receive(event: string, ...args: unknown[]): void {
    for (const listener of this.#any) listener(event, ...args);
    this.emit(event, ...args);
  }

  ask(event: string, ...args: unknown[]): Promise<object> {
    return new Promise((answer) => this.receive(event, ...args, answer));
  }

  join(room: string): void {
    this.rooms.add(room);
    this.nsp.adapter.emit('join-room', room, this.id);
  }

  leave(room: string): void {
    this.rooms.delete(room);
    this.nsp.adapter.emit('leave-room', room, this.id);
  }

  /** Disconnects in the order of Socket.IO. Returns `data` as an adapter stores it. */
  disconnect(reason: string): object {
    this.emit('disconnecting', reason);
    const stored = JSON.parse(JSON.stringify(this.data)) as object;
    for (const room of [...this.rooms]) this.leave(room);
    this.nsp.sockets.delete(this.id);
    this.connected = false;
    this.emit('disconnect', reason);
    return stored;
  }
}

class FakePresence {
  readonly calls: string[] = [];
  readonly watched = new Set<string>();
  readonly known = new Map<string, PresenceData>();
  watches = 0;
  failure: Error | undefined;
  /** Delays snapshots until it resolves. */
  snapshotDelay: Promise<void> | undefined;
  /** Delays registrations until it resolves. */
  registrationDelay: Promise<void> | undefined;
  #handler: (change: PresenceChange) => unknown = () => {};

  #done(call: string): void {
    this.calls.push(this.failure === undefined ? call : `${call} failed`);
    if (this.failure !== undefined) throw this.failure;
  }

  async setPresence(userId: string, socketId: string, status = 'online', meta?: unknown) {
    await this.registrationDelay;
    this.#done(`set ${userId} ${socketId} ${status}${meta === undefined ? '' : ` ${JSON.stringify(meta)}`}`);
    return {} as PresenceData;
  }

  async removeSocket(userId: string, socketId: string, options?: { immediate?: boolean }) {
    this.#done(`remove ${userId} ${socketId}${options?.immediate === true ? ' at once' : ''}`);
    return null;
  }

  async join(room: string, userId: string, socketId: string) {
    this.#done(`join ${room} ${userId} ${socketId}`);
  }

  async leave(room: string, userId: string, socketId: string) {
    this.#done(`leave ${room} ${userId} ${socketId}`);
  }

  async touch(userId: string, socketId: string) {
    this.#done(`touch ${userId} ${socketId}`);
    return true;
  }

  async watch(_userIds: Iterable<string>, handler: (change: PresenceChange) => unknown) {
    if (this.failure !== undefined) throw this.failure;
    this.watches++;
    this.#handler = handler;
    const close = async () => {
      this.watches--;
    };
    return {
      current: () => new Map(),
      get: (userId: string) => this.known.get(userId),
      add: async (more: Iterable<string>) => {
        const ids = [...more];
        this.#done(`add ${ids.join(' ')}`);
        for (const id of ids) this.watched.add(id);
        await this.snapshotDelay;
      },
      remove: (some: Iterable<string>) => {
        for (const id of some) this.watched.delete(id);
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  }

  /** Changes a user's status and notifies the watch. */
  setStatusOf(userId: string, status: string, version: number): void {
    const lastSeen = new Date(version);
    this.known.set(userId, { userId, status, lastSeen, version, socketIds: [], sockets: [] });
    if (!this.watched.has(userId)) return;
    this.#handler({ userId, status, previous: 'offline', lastSeen, version, sockets: 1 });
  }
}

let clock: FakeClock;
let space: Space;
let presence: FakePresence;
let errors: string[];

beforeEach(() => {
  clock = new FakeClock();
  space = new Space();
  presence = new FakePresence();
  errors = [];
});

function track(options: Partial<TrackPresenceOptions<FakeSocket>> = {}): PresenceTracker<FakeSocket> {
  return trackPresence<FakeSocket>(space, {
    presence: presence as TrackedPresence,
    clock,
    onError: (error, { stage }) => errors.push(`${stage}: ${error.message}`),
    ...options,
  });
}

test('a namespace has one tracker at a time, because two would send each change twice', async () => {
  const first = track();
  expect(() => track()).toThrow(/^io: has a tracker already/);
  const socket = space.connect('s', { user: 'ann' });
  await socket.ask('presence:watch', ['bob']);
  await first.close();
  await track().close();
});

describe('identifying a socket', () => {
  test.each<[string, object, string[]]>([
    ['a string', { user: 'ann' }, ['set ann s online']],
    ['an object with an id', { user: { id: 'ann', name: 'Ann' } }, ['set ann s online']],
    ['an object whose id is a number', { user: { id: 7 } }, ['set 7 s online']],
    ['__proto__', { user: '__proto__' }, ['set __proto__ s online']],
    ['no user', {}, []],
  ])('a socket is registered by socket.data.user: %s', async (_what, data, calls) => {
    track();
    space.connect('s', data);
    await turn();
    expect(presence.calls).toEqual(calls);
    expect(errors).toEqual([]);
  });

  test('an invalid user is reported, and the socket stays anonymous', async () => {
    track();
    for (const user of ['', true, { id: {} }, 'x'.repeat(513)]) space.connect('s', { user });
    await turn();
    expect(presence.calls).toEqual([]);
    expect(errors).toHaveLength(4);
    for (const error of errors) expect(error).toMatch(/^handler: userId/);
  });

  test('identify returns the user, the status and the meta; an error leaves the socket anonymous', async () => {
    let answer: unknown = { userId: 'ann', status: 'away', meta: { tab: 1 } };
    track({
      identify: () => {
        if (answer instanceof Error) throw answer;
        return answer as string;
      },
    });
    space.connect('one');
    await turn();
    expect(presence.calls).toEqual(['set ann one away {"tab":1}']);
    for (answer of [new Error('no'), { userId: 'ann', status: 'offline' }, Promise.resolve('ann')]) {
      space.connect('two');
      await turn();
    }
    expect(presence.calls).toHaveLength(1);
    expect(errors).toEqual([
      'handler: a handler failed: no',
      expect.stringMatching(/^handler: status/),
      expect.stringMatching(/^handler: identify.*promise/),
    ]);
  });

  test('a socket whose user logs in, changes and logs out has one user, its rooms and the watches they may have', async () => {
    const tracker = track({
      rooms: true,
      authorize: ({ data }, request) =>
        request.action === 'watch' && (data as { user?: string }).user === 'ann' && request.userId === 'bob',
    });
    const socket = space.connect('s', { user: 'guest' }, { rooms: ['hall'] });
    await turn();
    await tracker.watch(socket, ['bob', 'eve']);
    await tracker.setStatus(socket, 'away');
    presence.calls.length = 0;
    const data = socket.data as { user?: unknown };
    data.user = 'ann';
    expect(await tracker.identify(socket)).toEqual(['eve']);
    expect(presence.calls).toEqual(['set ann s away', 'join hall ann s', 'remove guest s at once']);
    expect([...presence.watched]).toEqual(['bob']);
    presence.calls.length = 0;
    expect(await tracker.identify(socket)).toEqual([]);
    expect(presence.calls).toEqual([]);
    // Nothing changes without Redis, or with a wrong id.
    data.user = 'carol';
    presence.failure = new TimeoutError('too slow');
    await expect(tracker.identify(socket)).rejects.toThrow('too slow');
    data.user = true;
    await expect(tracker.identify(socket)).rejects.toThrow(InvalidArgumentError);
    presence.failure = undefined;
    presence.calls.length = 0;
    data.user = undefined;
    expect(await tracker.identify(socket)).toEqual(['bob']);
    socket.join('other');
    expect(presence.calls).toEqual(['remove ann s at once']);
    data.user = 'ann';
    await tracker.identify(socket);
    presence.calls.length = 0;
    socket.disconnect('client namespace disconnect');
    await turn();
    expect(presence.calls).toEqual(['remove ann s']);
    expect(errors).toEqual([]);
    await expect(tracker.identify(socket)).rejects.toThrow(InvalidArgumentError);
  });

  test('identify runs after all connection handlers, which can already watch', async () => {
    presence.setStatusOf('bob', 'busy', 5);
    let users: unknown;
    // Added before the tracker, which prepends its own listener.
    space.on('connection', (socket: FakeSocket) => {
      Object.assign(socket.data, { user: 'ann' });
      users = tracker.watch(socket, ['bob']);
    });
    const tracker = track();
    space.connect('s');
    expect(await users).toEqual([{ userId: 'bob', status: 'busy', lastSeen: 5, version: 5 }]);
    expect(presence.calls[0]).toBe('set ann s online');
  });

  test('sockets that are already connected are tracked', async () => {
    space.connect('s', { user: 'ann' });
    track();
    await turn();
    expect(presence.calls).toEqual(['set ann s online']);
  });

  test('a socket disconnected in its connection handler is never registered', async () => {
    track();
    space.on('connection', (socket: FakeSocket) => socket.disconnect('server namespace disconnect'));
    space.connect('s', { user: 'ann' });
    await turn();
    expect(presence.calls).toEqual([]);
  });
});

describe('registration', () => {
  test('a failed registration is retried until Redis is back, and reported once', async () => {
    track();
    presence.failure = new TimeoutError('away');
    space.connect('s', { user: 'ann' });
    await turn();
    for (let time = 0; time < 5; time++) {
      clock.advance(31_000);
      await turn();
    }
    expect(presence.calls.length).toBeGreaterThan(5);
    expect(errors).toEqual(['repair: away']);
    presence.failure = undefined;
    clock.advance(31_000);
    await turn();
    expect(presence.calls.at(-1)).toBe('set ann s online');
    expect(clock.timers).toBe(0);
  });

  test('retries end with the socket, and an unregistered socket is not removed', async () => {
    track();
    presence.failure = new ConnectionError('away');
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    socket.disconnect('transport close');
    presence.failure = undefined;
    clock.advance(60_000);
    await turn();
    expect(presence.calls).toEqual(['set ann s online failed']);
    expect(clock.timers).toBe(0);
  });

  test('a registration in progress when the socket disconnects is followed by its removal only', async () => {
    track();
    const delay = deferred();
    presence.registrationDelay = delay.promise;
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    socket.disconnect('transport close');
    expect(presence.calls).toEqual(['remove ann s']);
    presence.failure = new ConnectionError('away');
    delay.resolve();
    await turn();
    expect([errors, clock.timers]).toEqual([[], 0]);
  });

  test('an invalid registration is not retried', async () => {
    track();
    presence.failure = new LimitError('too many sockets');
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    expect(clock.timers).toBe(0);
    expect(errors).toEqual(['repair: too many sockets']);
    socket.receive('whatever');
    socket.disconnect('transport close');
    expect(presence.calls).toEqual(['set ann s online failed']);
  });

  test('events of the client count as activity unless touch is false', async () => {
    track();
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    socket.receive('whatever');
    expect(presence.calls.at(-1)).toBe('touch ann s');
    presence.failure = new ConnectionError('away');
    socket.receive('whatever');
    await turn();
    expect(errors).toEqual(['repair: away']);
    presence.failure = undefined;
    const count = presence.calls.length;
    space = new Space();
    track({ touch: false });
    const silent = space.connect('t', { user: 'bob' });
    await turn();
    silent.receive('whatever');
    expect(presence.calls.slice(count)).toEqual(['set bob t online']);
  });
});

describe('requests of clients', () => {
  let socket: FakeSocket;
  let tracker: PresenceTracker<FakeSocket>;

  async function connected(options: Partial<TrackPresenceOptions<FakeSocket>> = {}): Promise<void> {
    tracker = track(options);
    socket = space.connect('s', { user: 'ann' });
    await turn();
    presence.calls.length = 0;
  }

  const lone = '\ud800';
  test.each<[string, unknown[]]>([
    ['presence:watch', []],
    ['presence:watch', [undefined]],
    ['presence:watch', [null]],
    ['presence:watch', ['bob']],
    ['presence:watch', [{ length: 1, 0: 'bob' }]],
    ['presence:watch', [[1]]],
    ['presence:watch', [['']]],
    ['presence:watch', [[null]]],
    ['presence:watch', [['x'.repeat(513)]]],
    ['presence:watch', [[lone]]],
    ['presence:watch', [['bob', ['cem']]]],
    ['presence:watch', [[[]]]],
    ['presence:watch', [Buffer.from('bob')]],
    ['presence:unwatch', []],
    ['presence:unwatch', [{}]],
    ['presence:status', []],
    ['presence:status', ['']],
    ['presence:status', ['offline']],
    ['presence:status', ['invisible']],
    ['presence:status', ['two words']],
    ['presence:status', ['x'.repeat(65)]],
    ['presence:status', [{ toString: () => 'busy' }]],
    ['presence:status', [['busy']]],
  ])('the request %s with %o is answered with an error', async (event, payload) => {
    await connected();
    expect(await socket.ask(event, ...payload)).toEqual({
      error: { code: 'INVALID', message: expect.any(String) },
    });
    // Without an acknowledgement callback, or with another value in its place.
    socket.receive(event, ...payload);
    socket.receive(event, ...payload, 'no function');
    await turn();
    expect(presence.calls.filter((call) => !call.startsWith('touch'))).toEqual([]);
    expect(tracker.stats().watched).toBe(0);
    expect(errors).toEqual([]);
  });

  test('a request over the limit watches none of its users', async () => {
    await connected({ maxWatched: 3 });
    const refused = { error: { code: 'LIMIT', message: expect.stringContaining('3') } };
    expect(await socket.ask('presence:watch', ['a', 'b', 'c', 'd'])).toEqual(refused);
    expect(await socket.ask('presence:watch', ['a', 'b', 'b'])).toHaveProperty('users.length', 2);
    expect(await socket.ask('presence:watch', ['a', 'c', 'd'])).toEqual(refused);
    expect([...presence.watched]).toEqual(['a', 'b']);
    await socket.ask('presence:unwatch', ['a', 'never watched']);
    expect(await socket.ask('presence:watch', ['c', 'd'])).toHaveProperty('users.length', 2);
    expect(tracker.stats().watched).toBe(3);
    await expect(tracker.watch(socket, ['e'])).rejects.toThrow(LimitError);
  });

  test('requests take effect in the order they were sent', async () => {
    const asked = deferred<boolean>();
    await connected({ authorize: () => asked.promise });
    const answers = [
      socket.ask('presence:watch', ['bob']),
      socket.ask('presence:unwatch', ['bob']),
      socket.ask('presence:status', 'busy'),
      socket.ask('presence:status', 'away'),
    ];
    asked.resolve(true);
    expect(await Promise.all(answers)).toEqual([
      { users: [{ userId: 'bob', status: 'offline', lastSeen: 0, version: 0 }] },
      {},
      { status: 'busy' },
      { status: 'away' },
    ]);
    await turn();
    expect(tracker.stats().watched).toBe(0);
    expect(presence.watched.size).toBe(0);
    expect(presence.calls.filter((call) => call.startsWith('set'))).toEqual([
      'set ann s busy',
      'set ann s away',
    ]);
  });

  test('a client that sends requests without awaiting acknowledgements is rate limited', async () => {
    const never = deferred<boolean>();
    await connected({ authorize: () => never.promise });
    const answers: object[] = [];
    for (let n = 0; n < 5_000; n++) {
      socket.receive('presence:watch', [`user-${n}`], (answer: object) => answers.push(answer));
    }
    await turn();
    expect(answers).toHaveLength(4_900);
    for (const answer of answers) expect(answer).toMatchObject({ error: { code: 'RATE_LIMITED' } });
    expect(tracker.stats().watched).toBe(0);
  });

  test('authorize is called for each user and status', async () => {
    const asked: string[] = [];
    await connected({
      authorize: (who, request) => {
        const { action } = request;
        const subject = request.action === 'watch' ? request.userId : request.status;
        asked.push(`${who.id} ${action} ${subject}`);
        if (subject === 'broken') throw new Error('the password is 1234');
        return (subject === 'truthy' ? 1 : subject !== 'secret') as boolean;
      },
    });
    const forbidden = { error: { code: 'FORBIDDEN', message: 'not allowed' } };
    expect(await socket.ask('presence:watch', ['bob', 'secret'])).toEqual(forbidden);
    expect(await socket.ask('presence:watch', ['truthy'])).toEqual(forbidden);
    expect(await socket.ask('presence:status', 'secret')).toEqual(forbidden);
    expect(asked).toEqual(['s watch bob', 's watch secret', 's watch truthy', 's status secret']);
    expect(tracker.stats().watched).toBe(0);
    expect(await socket.ask('presence:watch', ['broken'])).toEqual({
      error: { code: 'INTERNAL', message: 'the server failed' },
    });
    expect(errors).toEqual(['handler: a handler failed: the password is 1234']);
    expect(await socket.ask('presence:watch', ['bob'])).toHaveProperty('users');
    // `authorize` is not called for calls of the server.
    await tracker.setStatus(socket, 'busy');
    await tracker.watch(socket, ['secret']);
    expect(asked).toHaveLength(6);
  });

  test.each([false, true])(
    'a user whom a socket may not see looks as if never seen; lists: %s',
    async (batch) => {
      presence.setStatusOf('bob', 'busy', 5);
      const hidden = new Set(['bob']);
      await connected({ visible: (who, userId) => who !== socket || !hidden.has(userId) });
      const other = space.connect('o', { user: 'cat' });
      const never = { userId: 'bob', status: 'offline', lastSeen: 0, version: 0 };
      expect(await socket.ask('presence:watch', ['bob'], { batch })).toEqual({ users: [never] });
      expect(await other.ask('presence:watch', ['bob'], { batch })).toEqual({
        users: [{ userId: 'bob', status: 'busy', lastSeen: 5, version: 5 }],
      });
      const change = (status: string, version: number) => {
        space.sent.length = 0;
        presence.setStatusOf('bob', status, version);
        clock.advance(50);
        return space.sent.map(([to, , payload]) => [[to].flat(), [payload].flat()]);
      };
      const [six, seven, eight, nine] = [6, 7, 8, 9].map((version) => {
        return { userId: 'bob', status: `s${version}`, lastSeen: version, version };
      });
      expect(change('s6', 6)).toEqual([[['o'], [six]]]);
      hidden.clear();
      expect(change('s7', 7)).toEqual([[['s', 'o'], [seven]]]);
      hidden.add('bob');
      const sent = change('s8', 8);
      expect(sent).toHaveLength(2);
      expect(sent).toEqual(
        expect.arrayContaining([
          [['s'], [{ ...never, version: 8 }]],
          [['o'], [eight]],
        ]),
      );
      expect(change('s9', 9)).toEqual([[['o'], [nine]]]);
      expect(errors).toEqual([]);
    },
  );

  test('requests of anonymous sockets are rejected unless authorize allows them', async () => {
    tracker = track();
    const anonymous = space.connect('a');
    for (const [event, payload] of [
      ['presence:watch', ['bob']],
      ['presence:status', 'busy'],
    ] as const) {
      expect(await anonymous.ask(event, payload)).toMatchObject({ error: { code: 'FORBIDDEN' } });
    }
    await expect(tracker.setStatus(anonymous, 'busy')).rejects.toThrow(InvalidArgumentError);
    space = new Space();
    track({ authorize: () => true });
    const allowed = space.connect('b');
    expect(await allowed.ask('presence:watch', ['bob'])).toHaveProperty('users');
    expect(await allowed.ask('presence:status', 'busy')).toMatchObject({ error: { code: 'FORBIDDEN' } });
    expect(presence.calls.filter((call) => call.startsWith('set'))).toEqual([]);
  });

  test('a status whose write failed is not written later', async () => {
    await connected();
    presence.failure = new ConnectionError('connect ECONNREFUSED 10.0.0.1:6379');
    expect(await socket.ask('presence:status', 'busy')).toEqual({
      error: { code: 'UNAVAILABLE', message: 'not available now' },
    });
    presence.failure = undefined;
    space.recoverable();
    const data = socket.disconnect('transport close');
    space.connect('s', data, { recovered: true });
    await turn();
    expect(presence.calls.at(-1)).toBe('set ann s online');
  });

  test('an acknowledgement that throws is reported', async () => {
    await connected();
    socket.receive('presence:status', 'busy', () => {
      throw new Error('broken');
    });
    await turn();
    expect(errors).toEqual(['handler: a handler failed: broken']);
  });
});

describe('watches in batches', () => {
  const ask = (socket: FakeSocket, users: string[], options?: unknown) =>
    socket.ask('presence:watch', users, ...(options === undefined ? [] : [options]));

  test('the changes of 50 ms are one list per socket, with the last state of each user', async () => {
    const tracker = track({ authorize: () => true });
    const sockets = ['a', 'b', 'c'].map((id) => space.connect(id, { user: id }));
    await turn();
    for (const socket of sockets) await ask(socket, ['bob', 'cat'], { batch: socket.id !== 'c' });
    space.sent.length = 0;
    presence.setStatusOf('bob', 'busy', 3);
    presence.setStatusOf('cat', 'online', 4);
    presence.setStatusOf('bob', 'away', 5);
    expect(space.sent.map(([to, event]) => [to, event])).toEqual(
      Array.from({ length: 3 }, () => [['c'], 'presence:changed']),
    );
    clock.advance(49);
    expect(space.sent).toHaveLength(3);
    clock.advance(1);
    const users = [
      { userId: 'bob', status: 'away', lastSeen: 5, version: 5 },
      { userId: 'cat', status: 'online', lastSeen: 4, version: 4 },
    ];
    expect(space.sent.slice(3)).toEqual([[['a', 'b'], 'presence:changes', users]]);
    expect(clock.timers).toBe(0);
    // An ended watch and an ended connection receive nothing.
    presence.setStatusOf('bob', 'busy', 6);
    await sockets[0]?.ask('presence:unwatch', ['bob']);
    sockets[1]?.disconnect('client namespace disconnect');
    space.sent.length = 0;
    clock.advance(50);
    expect(space.sent).toEqual([]);
    presence.setStatusOf('cat', 'away', 7);
    await tracker.close();
    expect(clock.timers).toBe(0);
  });

  test('a list has at most 250 users', async () => {
    track({ authorize: () => true });
    const socket = space.connect('a', { user: 'a' });
    const users = Array.from({ length: 600 }, (_, at) => `u${at}`);
    await ask(socket, users, { batch: true });
    for (const [at, user] of users.entries()) presence.setStatusOf(user, 'busy', at + 1);
    clock.advance(50);
    expect(space.sent.map(([, event, list]) => [event, (list as object[]).length])).toEqual([
      ['presence:changes', 250],
      ['presence:changes', 250],
      ['presence:changes', 100],
    ]);
  });

  test('the setting stays until it is changed, and a failed request changes nothing', async () => {
    track({ authorize: () => true, maxWatched: 2 });
    const socket = space.connect('a', { user: 'a' });
    const eventAfter = (version: number) => {
      space.sent.length = 0;
      presence.setStatusOf('bob', version % 2 === 0 ? 'busy' : 'away', version);
      clock.advance(50);
      return space.sent.map(([, event]) => event);
    };
    await ask(socket, ['bob']);
    expect(await ask(socket, ['a', 'b', 'c'], { batch: true })).toHaveProperty('error.code', 'LIMIT');
    for (const options of [{ batch: 1 }, { bach: true }, true]) {
      expect(await ask(socket, ['bob'], options)).toHaveProperty('error.code', 'INVALID');
    }
    expect(eventAfter(1)).toEqual(['presence:changed']);
    await ask(socket, ['bob'], { batch: true });
    await ask(socket, ['bob']);
    expect(eventAfter(2)).toEqual(['presence:changes']);
    await ask(socket, ['bob'], { batch: false });
    expect(eventAfter(3)).toEqual(['presence:changed']);
  });

  test('a recovered socket receives its users as a list', async () => {
    space.recoverable();
    track({ authorize: () => true });
    const socket = space.connect('s', { user: 'ann' });
    await ask(socket, ['bob', 'cat'], { batch: true });
    const data = socket.disconnect('transport close');
    presence.setStatusOf('bob', 'busy', 1);
    presence.setStatusOf('cat', 'away', 2);
    space.sent.length = 0;
    space.connect('s', data, { recovered: true });
    await turn();
    await turn();
    expect(space.sent).toMatchObject([[['s'], 'presence:changes', [{ userId: 'bob' }, { userId: 'cat' }]]]);
    presence.setStatusOf('bob', 'away', 3);
    clock.advance(50);
    expect(space.sent[1]).toMatchObject([['s'], 'presence:changes', [{ userId: 'bob', status: 'away' }]]);
  });
});

describe('watches', () => {
  test('all sockets share one watch, and simultaneous requests share a snapshot', async () => {
    const tracker = track();
    const sockets = ['a', 'b', 'c'].map((id) => space.connect(id, { user: id }));
    await turn();
    presence.calls.length = 0;
    presence.setStatusOf('bob', 'busy', 3);
    const delay = deferred();
    presence.snapshotDelay = delay.promise;
    const answers = sockets.map((socket) => tracker.watch(socket, ['bob', socket.id]));
    await turn();
    // Changes arrive while the snapshot is read.
    presence.setStatusOf('bob', 'away', 4);
    delay.resolve();
    for (const users of await Promise.all(answers)) {
      expect(users[0]).toEqual({ userId: 'bob', status: 'away', lastSeen: 4, version: 4 });
    }
    expect(presence.calls).toEqual(['add bob a b c']);
    expect(presence.watches).toBe(1);
    space.sent.length = 0;
    presence.setStatusOf('bob', 'online', 5);
    const change = { userId: 'bob', status: 'online', lastSeen: 5, version: 5 };
    expect(space.sent).toEqual([[['a', 'b', 'c'], 'presence:changed', change]]);
    await tracker.close();
    expect(presence.watches).toBe(0);
  });

  test('after a failed watch no waiting socket watches its users', async () => {
    const tracker = track();
    const sockets = ['a', 'b'].map((id) => space.connect(id, { user: id }));
    await turn();
    presence.failure = new ConnectionError('away');
    for (const outcome of await Promise.allSettled(sockets.map((it) => tracker.watch(it, ['bob'])))) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { name: 'ConnectionError' } });
    }
    expect(tracker.stats().watched).toBe(0);
    presence.failure = undefined;
    presence.setStatusOf('bob', 'busy', 1);
    for (const socket of sockets) {
      expect(await tracker.watch(socket, ['bob'])).toMatchObject([{ status: 'busy' }]);
    }
  });

  test('a socket that disconnects while its snapshot is read stops watching', async () => {
    const tracker = track();
    const [one, two] = ['a', 'b'].map((id) => space.connect(id, { user: id })) as [FakeSocket, FakeSocket];
    await turn();
    const delay = deferred();
    presence.snapshotDelay = delay.promise;
    const answer = tracker.watch(one, ['bob', 'cem']).catch((error: Error) => error.name);
    const kept = tracker.watch(two, ['cem']);
    await turn();
    one.disconnect('client namespace disconnect');
    delay.resolve();
    expect(await answer).toBe('ClosedError');
    await kept;
    await turn();
    expect([...presence.watched]).toEqual(['cem']);
    expect(tracker.stats()).toMatchObject({ sockets: 1, watched: 1 });
  });

  test('a socket that disconnects before its snapshot is read stops watching', async () => {
    const tracker = track();
    const [one, two] = ['a', 'b'].map((id) => space.connect(id, { user: id })) as [FakeSocket, FakeSocket];
    await turn();
    const delay = deferred();
    presence.snapshotDelay = delay.promise;
    const first = tracker.watch(one, ['bob']);
    await turn();
    const second = tracker.watch(two, ['cem']).catch((error: Error) => error.name);
    await turn();
    two.disconnect('client namespace disconnect');
    delay.resolve();
    await first;
    expect(await second).toBe('ClosedError');
    await turn();
    expect([...presence.watched]).toEqual(['bob']);
  });

  test.each([0, 1, 2, 3, 4, 5, 6, 7, 8])(
    'no watch is left after a close, %i steps after a request',
    async (steps) => {
      const tracker = track();
      const socket = space.connect('s', { user: 'ann' });
      const answer = tracker.watch(socket, ['bob']).catch((error: Error) => error.name);
      for (let step = 0; step < steps; step++) await Promise.resolve();
      await tracker.close();
      expect(await answer).toBe('ClosedError');
      expect(presence.watches).toBe(0);
    },
  );

  test('unknown sockets and invalid user ids are rejected', async () => {
    const tracker = track();
    const socket = space.connect('s', { user: 'ann' });
    const stranger = new FakeSocket(space, 's', {}, false);
    await expect(tracker.watch(stranger, ['bob'])).rejects.toThrow('not connected here');
    await expect(tracker.watch(socket, 'bob')).rejects.toThrow(InvalidArgumentError);
    await expect(tracker.unwatch(socket, [''])).rejects.toThrow(InvalidArgumentError);
    socket.disconnect('transport close');
    await expect(tracker.watch(socket, ['bob'])).rejects.toThrow('not connected here');
  });
});

describe('disconnection', () => {
  const recoverable = [
    'transport close',
    'transport error',
    'ping timeout',
    'forced close',
    'server shutting down',
    'forced server close',
  ];
  const final = ['client namespace disconnect', 'server namespace disconnect', 'parse error', 'whatever'];

  test.each([...recoverable, ...final])(
    'by "%s" is final where sessions are not recovered',
    async (reason) => {
      const tracker = track();
      const socket = space.connect('s', { user: 'ann' });
      await turn();
      expect(socket.disconnect(reason)).toEqual({ user: 'ann' });
      expect(presence.calls.at(-1)).toBe('remove ann s');
      expect(tracker.stats()).toEqual({ sockets: 0, recovering: 0, watched: 0, subscriptions: 0 });
      expect(socket.listening).toBe(0);
    },
  );

  test.each(final)('a disconnection by "%s" is final with a recovery grace', async (reason) => {
    space.recoverable();
    track();
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    socket.disconnect(reason);
    expect(presence.calls.at(-1)).toBe('remove ann s');
    expect(clock.timers).toBe(0);
  });

  test.each([
    ...recoverable.map((reason) => [reason, 120_000, undefined, 30_000] as const),
    ['transport close', 10_000, undefined, 10_000] as const,
    ['transport close', 10_000, 60_000, 10_000] as const,
    ['transport close', 120_000, 60_000, 60_000] as const,
  ])(
    'by "%s" with sessions of %i ms and a grace of %o is final after %i ms',
    async (reason, max, recoveryGrace, after) => {
      space.recoverable(max);
      const tracker = track(recoveryGrace === undefined ? {} : { recoveryGrace });
      const socket = space.connect('s', { user: 'ann' });
      await turn();
      socket.disconnect(reason);
      clock.advance(after - 1);
      expect(presence.calls).toEqual(['set ann s online']);
      expect(tracker.stats().recovering).toBe(1);
      clock.advance(1);
      expect(presence.calls.at(-1)).toBe('remove ann s');
      expect(tracker.stats().recovering).toBe(0);
    },
  );

  test('a disconnection without a grace is final at once', async () => {
    space.recoverable();
    track({ recoveryGrace: 0 });
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    socket.disconnect('transport close');
    expect(presence.calls.at(-1)).toBe('remove ann s');
  });

  test('an unfinished registration is retried until the recovery grace ends', async () => {
    space.recoverable();
    track();
    presence.failure = new ConnectionError('away');
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    const data = socket.disconnect('transport close');
    presence.failure = undefined;
    const again = space.connect('s', data, { recovered: true });
    await turn();
    expect(presence.calls.at(-1)).toBe('set ann s online');
    again.disconnect('client namespace disconnect');
    expect(presence.calls.at(-1)).toBe('remove ann s');
    expect(clock.timers).toBe(0);
  });
});

describe('recovery', () => {
  beforeEach(() => {
    space.recoverable();
  });

  test('a recovery cancels the removal and restores the status and the watched users', async () => {
    const tracker = track({ identify: (socket) => ({ userId: 'ann', meta: socket.recovered }) });
    const socket = space.connect('s');
    presence.setStatusOf('bob', 'busy', 1);
    await socket.ask('presence:watch', ['bob', 'nobody']);
    await socket.ask('presence:status', 'away');
    const data = socket.disconnect('transport close');
    expect(tracker.stats()).toMatchObject({ recovering: 1, watched: 0 });
    presence.setStatusOf('bob', 'offline', 2);
    const again = space.connect('s', data, { recovered: true });
    expect(data).toEqual({});
    await turn();
    expect(presence.calls).not.toContain('remove ann s');
    expect(presence.calls).toContain('set ann s away true');
    expect(clock.timers).toBe(0);
    await turn();
    const change = { userId: 'bob', status: 'offline', lastSeen: 2, version: 2 };
    expect(space.sent).toEqual([[['s'], 'presence:changed', change]]);
    presence.setStatusOf('nobody', 'online', 3);
    expect(space.sent).toHaveLength(2);
    await again.ask('presence:unwatch', ['bob', 'nobody']);
    expect(tracker.stats()).toMatchObject({ recovering: 0, watched: 0 });
  });

  test('another process restores the state from the session', async () => {
    track();
    const socket = space.connect('s', { user: 'ann' });
    await socket.ask('presence:status', 'busy');
    await socket.ask('presence:watch', ['__proto__']);
    const data = socket.disconnect('ping timeout');
    const first = presence;
    presence = new FakePresence();
    space = new Space().recoverable();
    const other = track();
    space.connect('s', data, { recovered: true });
    await turn();
    await turn();
    expect(presence.calls).toEqual(['set ann s busy', 'add __proto__']);
    expect(other.stats().watched).toBe(1);
    clock.advance(30_000);
    expect(first.calls.at(-1)).toBe('remove ann s');
  });

  describe('by another server', () => {
    async function recoverElsewhere(options: Partial<TrackPresenceOptions<FakeSocket>> = {}) {
      const one = { space: space.recoverable(), presence, tracker: track({ rooms: true, ...options }) };
      const socket = space.connect('s', { user: 'ann' }, { rooms: ['den'] });
      await turn();
      const data = socket.disconnect('transport close');
      expect(one.tracker.stats().recovering).toBe(1);
      presence = new FakePresence();
      space = new Space().recoverable();
      const two = { space, presence, tracker: track({ rooms: true, ...options }) };
      one.space.cluster = two.space.cluster = [one.space, two.space];
      return { one, two, recover: () => space.connect('s', data, { recovered: true, rooms: ['den'] }) };
    }

    test('the first server removes its registration once the second has registered the socket', async () => {
      const { one, two, recover } = await recoverElsewhere();
      const delay = deferred();
      two.presence.registrationDelay = delay.promise;
      const socket = recover();
      await turn();
      expect(one.presence.calls).not.toContain('remove ann s');
      delay.resolve();
      await turn();
      expect(two.presence.calls).toEqual(['set ann s online', 'join den ann s']);
      expect(one.presence.calls.at(-1)).toBe('remove ann s');
      expect(one.tracker.stats()).toMatchObject({ sockets: 0, recovering: 0 });
      expect(one.space.listenerCount('rollcall:recovered')).toBe(0);
      socket.disconnect('client namespace disconnect');
      expect(two.presence.calls.at(-1)).toBe('remove ann s');
    });

    test('a final disconnection before that removes the registrations of both servers', async () => {
      const { one, two, recover } = await recoverElsewhere();
      two.presence.registrationDelay = new Promise(() => {});
      const socket = recover();
      await turn();
      socket.disconnect('server namespace disconnect');
      await turn();
      expect(one.presence.calls.at(-1)).toBe('remove ann s');
      expect(two.presence.calls.at(-1)).toBe('remove ann s');
    });

    test('an anonymous recovery removes the registration of the first server', async () => {
      let anonymous = false;
      const { one, recover } = await recoverElsewhere({
        identify: ({ data }) => (anonymous ? undefined : (data as { user: string }).user),
      });
      anonymous = true;
      recover();
      await turn();
      expect(one.presence.calls.at(-1)).toBe('remove ann s');
    });

    test('a server that recovers its own session notifies no other server', async () => {
      space.recoverable();
      const other = new Space();
      space.cluster = [space, other];
      const notified: unknown[] = [];
      other.on('rollcall:recovered', (id) => notified.push(id));
      track({ recoveryGrace: 0 });
      const data = space.connect('s', { user: 'ann' }).disconnect('transport close');
      await turn();
      space.connect('s', data, { recovered: true });
      await turn();
      expect(notified).toEqual([]);
    });
  });

  test('a recovery during an outage restores the watched users afterwards, also after a second recovery', async () => {
    const tracker = track({ identify: () => undefined, authorize: () => true });
    let socket = space.connect('s');
    await socket.ask('presence:watch', ['bob']);
    presence.failure = new ConnectionError('away');
    for (let time = 0; time < 2; time++) {
      socket = space.connect('s', socket.disconnect('transport close'), { recovered: true });
      await turn();
      expect(tracker.stats()).toMatchObject({ sockets: 1, watched: 0 });
    }
    expect(clock.timers).toBe(1);
    presence.failure = undefined;
    presence.setStatusOf('bob', 'busy', 1);
    clock.advance(30_000);
    await turn();
    expect(space.sent).toMatchObject([[['s'], 'presence:changed', { userId: 'bob', status: 'busy' }]]);
    expect(tracker.stats().watched).toBe(1);
    expect(clock.timers).toBe(0);
  });

  test('a recovery as another user removes the previous user', async () => {
    track();
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    socket.disconnect('transport close');
    space.connect('s', { user: 'bob' }, { recovered: true });
    await turn();
    expect(presence.calls).toEqual(['set ann s online', 'remove ann s', 'set bob s online']);
  });

  test.each([null, 1, 'x', [], { status: 1, watching: 'bob' }, { watching: [1, null, {}] }])(
    'survives %o in the session',
    async (carried) => {
      const tracker = track();
      space.connect('s', { user: 'ann', $rollcall: carried }, { recovered: true });
      await turn();
      expect(presence.calls).toEqual(['set ann s online']);
      expect(tracker.stats().watched).toBe(0);
      expect(errors).toEqual([]);
    },
  );

  test('state in socket.data is ignored for a socket that was not recovered', async () => {
    track();
    space.connect('s', { user: 'ann', $rollcall: { status: 'busy', watching: ['bob'] } });
    await turn();
    expect(presence.calls).toEqual(['set ann s online']);
  });
});

describe('rooms', () => {
  test('presence rooms are joined and left with those of Socket.IO', async () => {
    track({ rooms: (room) => (room === 'secret' ? false : room.startsWith('p:') ? 'project' : true) });
    const socket = space.connect('s', { user: 'ann' }, { rooms: ['lobby', 'secret'] });
    space.connect('anonymous', {}, { rooms: ['lobby'] });
    await turn();
    expect(presence.calls).toEqual(['set ann s online', 'join lobby ann s']);
    presence.calls.length = 0;
    socket.join('p:1');
    socket.join('p:2');
    socket.join('secret');
    socket.leave('p:1');
    socket.leave('lobby');
    space.adapter.emit('join-room', 'lobby', 'stranger');
    await turn();
    expect(presence.calls).toEqual(['join project ann s', 'join project ann s', 'leave lobby ann s']);
    socket.leave('p:2');
    expect(presence.calls.at(-1)).toBe('leave project ann s');
    socket.join('lobby');
    socket.disconnect('transport close');
    // The removal of the socket from presence leaves all its rooms.
    expect(presence.calls.slice(-2)).toEqual(['join lobby ann s', 'remove ann s']);
    expect(space.adapter.eventNames()).toEqual([]);
  });

  test('presence rooms are kept while a socket may be recovered, and joined again afterwards', async () => {
    space.recoverable();
    track({ rooms: true });
    const socket = space.connect('s', { user: 'ann' }, { rooms: ['lobby'] });
    await turn();
    const data = socket.disconnect('transport close');
    space.connect('s', data, { recovered: true, rooms: ['lobby'] });
    await turn();
    expect(presence.calls).toEqual([
      'set ann s online',
      'join lobby ann s',
      'set ann s online',
      'join lobby ann s',
    ]);
  });

  test('a failed join is retried unless the socket leaves the room', async () => {
    track({ rooms: true });
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    presence.failure = new ConnectionError('away');
    socket.join('a');
    socket.join('b');
    await turn();
    socket.leave('b');
    await turn();
    presence.failure = undefined;
    clock.advance(5_000);
    await turn();
    expect(presence.calls.slice(-1)).toEqual(['join a ann s']);
    expect(clock.timers).toBe(0);
  });

  test('a `rooms` function that throws does not break socket.join', async () => {
    track({
      rooms: () => {
        throw new Error('broken');
      },
    });
    const socket = space.connect('s', { user: 'ann' });
    await turn();
    socket.join('a');
    expect(errors).toEqual(['handler: a handler failed: broken']);
  });
});

describe('channels', () => {
  let handlers: ((message: unknown, context: object) => void)[];
  let ended: number;
  let delay: Promise<void> | undefined;
  const pubsub = {
    subscribe: async (_channel: unknown, handler: (message: unknown, context: object) => void) => {
      await delay;
      handlers.push(handler);
      const unsubscribe = async () => {
        ended++;
      };
      return { position: '1-1', unsubscribe, [Symbol.asyncDispose]: unsubscribe };
    },
  } as unknown as RelayedPubSub;

  beforeEach(() => {
    handlers = [];
    ended = 0;
    delay = undefined;
  });

  test('messages of a channel are sent to the socket until it unsubscribes or disconnects', async () => {
    const tracker = track({ pubsub });
    const socket = space.connect('s', { user: 'ann' });
    const subscription = await tracker.subscribe(socket, 'news');
    await tracker.subscribe(socket, 'other', { event: 'message' });
    expect(subscription.position).toBe('1-1');
    handlers[0]?.('hello', { channel: 'news', raw: '"hello"' });
    handlers[1]?.({ n: 1 }, { channel: 'other', raw: '', position: '2-2' });
    expect(space.sent).toEqual([
      ['s', 'news', 'hello', { channel: 'news' }],
      ['s', 'message', { n: 1 }, { channel: 'other', position: '2-2' }],
    ]);
    await subscription.unsubscribe();
    expect(tracker.stats().subscriptions).toBe(1);
    socket.disconnect('transport close');
    expect(ended).toBe(2);
    handlers[1]?.('late', { channel: 'other', raw: '' });
    expect(space.sent).toHaveLength(2);
  });

  test('a subscription ends if the socket disconnects before Redis confirms', async () => {
    const opening = deferred();
    delay = opening.promise;
    const tracker = track({ pubsub });
    const socket = space.connect('s', { user: 'ann' });
    const subscribing = tracker.subscribe(socket, 'news');
    socket.disconnect('transport close');
    opening.resolve();
    expect((await subscribing).position).toBeUndefined();
    expect(ended).toBe(1);
  });

  test('pending subscriptions count towards the limit', async () => {
    const tracker = track({ pubsub, maxSubscriptions: 2 });
    const socket = space.connect('s', { user: 'ann' });
    const outcomes = await Promise.allSettled(['a', 'b', 'c'].map((it) => tracker.subscribe(socket, it)));
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(outcomes[2]).toMatchObject({ reason: { name: 'LimitError' } });
  });

  test('reserved event names, and channels without a pubsub, are rejected', async () => {
    const tracker = track({ pubsub });
    const socket = space.connect('s', { user: 'ann' });
    for (const event of ['disconnect', 'connect_error', 'newListener', '']) {
      await expect(tracker.subscribe(socket, 'x', { event })).rejects.toThrow(InvalidArgumentError);
    }
    await expect(tracker.subscribe(socket, 'disconnect')).rejects.toThrow(InvalidArgumentError);
    await expect(tracker.relay('x', { room: [] })).rejects.toThrow(InvalidArgumentError);
    expect(tracker.stats().subscriptions).toBe(0);
    space = new Space();
    const without = track();
    await expect(without.relay('x')).rejects.toMatchObject({ name: 'UnsupportedError' });
  });

  test('relays end with the tracker', async () => {
    const tracker = track({ pubsub });
    await tracker.relay('a');
    await tracker.relay('b', { room: 'lobby', event: 'message' });
    handlers[0]?.(1, { channel: 'a', raw: '1' });
    handlers[1]?.(2, { channel: 'b', raw: '2' });
    expect(space.sent).toEqual([
      ['*', 'a', 1, { channel: 'a' }],
      [['lobby'], 'message', 2, { channel: 'b' }],
    ]);
    await tracker.close();
    expect(ended).toBe(2);
    await expect(tracker.relay('a')).rejects.toMatchObject({ name: 'ClosedError' });
  });
});

describe('close', () => {
  test.each([false, true])(
    'close releases listeners, watches and subscriptions; handoff %o',
    async (handoff) => {
      space.recoverable();
      const tracker = track({ rooms: true });
      const stays = space.connect('a', { user: 'ann' }, { rooms: ['lobby'] });
      const leaves = space.connect('b', { user: 'bob' });
      await stays.ask('presence:watch', ['bob']);
      leaves.disconnect('transport close');
      presence.failure = new ConnectionError('away');
      space.connect('c', { user: 'cem' });
      await turn();
      presence.failure = undefined;
      presence.calls.length = 0;
      const { close } = tracker;
      expect(close({ handoff })).toBe(close());
      await close();
      expect(presence.calls.sort()).toEqual(handoff ? [] : ['remove ann a', 'remove bob b']);
      expect(clock.timers).toBe(0);
      expect(stays.listening).toBe(0);
      expect(space.listenerCount('connection')).toBe(0);
      expect(space.adapter.eventNames()).toEqual([]);
      expect(presence.watches).toBe(0);
      expect(tracker.stats()).toEqual({ sockets: 0, recovering: 0, watched: 0, subscriptions: 0 });
      stays.disconnect('server shutting down');
      expect(presence.calls).toHaveLength(handoff ? 0 : 2);
      await expect(tracker.setStatus(stays, 'busy')).rejects.toMatchObject({ name: 'ClosedError' });
    },
  );

  test('a close while Redis is unavailable reports the error and resolves', async () => {
    await using tracker = track();
    space.connect('a', { user: 'ann' });
    await turn();
    presence.failure = new ConnectionError('away');
    await tracker.close();
    expect(errors).toEqual(['close: away']);
  });
});

test('invalid servers and options are rejected', () => {
  for (const io of [undefined, null, {}, 'io', new EventEmitter()]) {
    expect(() => trackPresence(io as never, { presence: presence as TrackedPresence })).toThrow(/^io:/);
  }
  expect(() => trackPresence(space as never, undefined as never)).toThrow(/^options:/);
  for (const [name, value] of Object.entries({
    presence: {},
    pubsub: {},
    identify: 'ann',
    authorize: true,
    visible: async () => true,
    rooms: 'lobby',
    touch: 1,
    recoveryGrace: -1,
    maxWatched: 1.5,
    maxSubscriptions: Number.NaN,
    onError: {},
  })) {
    expect(() => track({ [name]: value }), name).toThrow(InvalidArgumentError);
  }
  expect(space.listenerCount('connection')).toBe(0);
});

test('a revocation has an id, users to watch, and a pubsub to tell the other servers', async () => {
  const pubsub = { subscribe: async () => {}, publish: async () => ({}) } as never;
  const tracker = track({ pubsub });
  const wrong: [unknown, unknown][] = [
    ['', { watch: ['bob'] }],
    ['ann', undefined],
    ['ann', {}],
    ['ann', { watch: 'bob' }],
    ['ann', { watch: [''] }],
    ['ann', { watch: [7] }],
    ['ann', { watch: Array.from({ length: 1_001 }, (_, at) => `user-${at}`) }],
    ['ann', { watch: ['bob'], members: ['lobby'] }],
  ];
  for (const [userId, options] of wrong) {
    const call = tracker.revoke(userId as string, options as never);
    await expect(call, JSON.stringify(options)?.slice(0, 50)).rejects.toThrow(InvalidArgumentError);
  }
  await tracker.revoke('ann', { watch: ['bob'] });
  await tracker.close();
  await expect(tracker.revoke('ann', { watch: ['bob'] })).rejects.toThrow(ClosedError);
  await expect(track().revoke('ann', { watch: ['bob'] })).rejects.toThrow(UnsupportedError);
});
