// @ts-check
// node bench/soak.js [--minutes N] [--clients N]
//
// Three server processes and many clients behind a network that cuts, delays, half-closes and stops delivering, with users
// who come and go all the time. Fails if a message is lost, repeated or out of order, if presence or a room is wrong once the
// network is calm, if an error is reported that the network does not explain, if memory, descriptors or keys grow, or if
// Redis keeps more afterwards than histories and `lastSeen`.
import { fork } from 'node:child_process';
import { createConnection, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import { PresenceService } from 'rollcall';
import { connect } from 'rollcall/client';
import { WebSocket } from 'ws';
import { FaultServer, pause, until } from './support/fault-setup.js';

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '20' }, clients: { type: 'string', default: '300' } },
});
const MINUTES = Number(values.minutes);
const CLIENTS = Number(values.clients);
const SERVERS = 3;
const ROOMS = 30;
const GRACE = 8_000;
/** A room's history, long enough that a client can always catch up. */
const HISTORY = { size: 5_000, ttl: 300_000 };
const SAMPLE_MS = 30_000;
/** A connection lives for at most this long, in ms. */
const LIFE = 40_000;
/** A chunk is delayed by at most this, in ms. */
const DELAY = 30;

/** @type {Record<string, number>} What was checked, and the number of violations. */
const wrong = { lost: 0, repeated: 0, disordered: 0, gaps: 0, presence: 0, rooms: 0, errors: 0, events: 0 };
/** @type {string[]} */
const examples = [];
const violation = (/** @type {string} */ kind, /** @type {string} */ text) => {
  wrong[kind] = (wrong[kind] ?? 0) + 1;
  if (Number(wrong[kind]) <= 5) examples.push(`${kind}: ${text}`);
};

/** A TCP proxy that treats connections badly at random, until `calm`. */
class FaultyNetwork {
  rough = true;
  faults = { cut: 0, halfClosed: 0, silent: 0 };
  #server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => this.#connect(near));

  /** @param {number} target */
  constructor(target) {
    this.target = target;
  }

  /** @returns {Promise<number>} */
  listen() {
    return new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', () => {
        resolve(/** @type {import('node:net').AddressInfo} */ (this.#server.address()).port);
      });
    });
  }

  stop() {
    this.#server.close();
  }

  /** @param {import('node:net').Socket} near */
  #connect(near) {
    const far = createConnection({
      host: '127.0.0.1',
      port: this.target,
      noDelay: true,
      allowHalfOpen: true,
    });
    let silent = false;
    const cut = () => {
      near.resetAndDestroy();
      far.resetAndDestroy();
    };
    for (const [from, to] of /** @type {const} */ ([
      [near, far],
      [far, near],
    ])) {
      from.on('error', () => {});
      from.on('close', () => to.destroy());
      let before = Promise.resolve();
      const later = (/** @type {() => void} */ task) => {
        const delay = this.rough ? Math.random() * DELAY : 0;
        before = before.then(() => pause(delay)).then(() => (silent ? undefined : task()));
      };
      from.on('data', (chunk) => later(() => to.write(chunk)));
      from.on('end', () => later(() => to.end()));
    }
    const timer = setTimeout(() => {
      if (!this.rough || near.destroyed) return;
      const chance = Math.random();
      if (chance < 0.5) {
        this.faults.cut++;
        cut();
        return;
      }
      if (chance < 0.75) {
        this.faults.halfClosed++;
        (Math.random() < 0.5 ? near : far).end();
      } else {
        this.faults.silent++;
        silent = true;
      }
      setTimeout(cut, Math.random() * 3_000);
    }, Math.random() * LIFE);
    near.on('close', () => clearTimeout(timer));
  }
}

class ServerProcess {
  #count = 0;
  /** @type {Map<number, (value: any) => void>} */
  #pending = new Map();

  /** @param {number} port of Redis */
  constructor(port) {
    const options = JSON.stringify({ port, grace: GRACE, history: HISTORY });
    this.child = fork(fileURLToPath(new URL('./support/soak-node.js', import.meta.url)), [options], {
      execArgv: ['--expose-gc'],
    });
    this.child.on('message', (/** @type {{ id: number, value: unknown }} */ { id, value }) => {
      this.#pending.get(id)?.(value);
      this.#pending.delete(id);
    });
    this.ready = this.#reply(0);
  }

  /** @param {string} action */
  ask(action) {
    const id = ++this.#count;
    const reply = this.#reply(id);
    this.child.send({ id, action });
    return reply;
  }

  /** @param {number} id @returns {Promise<any>} */
  #reply(id) {
    return new Promise((resolve) => this.#pending.set(id, resolve));
  }
}

let serial = 0;
let sentCount = 0;
let receivedCount = 0;
let reconnects = 0;
/** Room, sender and number of sends that the client has reported as failed: they may be missing. */
const unsent = new Set();

/** A user with one connection in two rooms, who sends numbers and checks those of the others. */
class User {
  name = `user-${++serial}`;
  #going = true;
  #number = 0;
  /** Room and sender → last number received. */
  #last = new Map();
  /** @type {import('rollcall/client').Room[]} */
  #rooms;
  /** @type {Promise<void>} */
  #sending;

  /** @param {() => string} url */
  constructor(url) {
    this.client = connect({
      url: () => `${url()}/?user=${this.name}`,
      WebSocket: /** @type {any} */ (WebSocket),
      timeout: 60_000,
    });
    this.client.on('reconnecting', () => reconnects++);
    this.roomNames = [serial % ROOMS, (serial * 7 + 3) % ROOMS]
      .filter((one, at, all) => all.indexOf(one) === at)
      .map((one) => `room-${one}`);
    this.#rooms = this.roomNames.map((name) => {
      const room = this.client.join(name, { members: true });
      room.on('number', (data, { from }) => this.#onNumber(name, String(from), Number(data)));
      room.onDiscontinuity((gap) => {
        if (gap.recovered) return;
        violation('gaps', `${this.name} in ${name}: ${JSON.stringify(gap)}`);
        // What it lacks has been reported.
        for (const key of this.#last.keys()) if (key.startsWith(`${name} `)) this.#last.delete(key);
      });
      return room;
    });
    this.client.watch([`user-${Math.max(1, serial - 1)}`]);
    this.ready = Promise.all(this.#rooms.map((room) => room.ready));
    this.#sending = this.ready.then(() => this.#send());
    this.#sending.catch(() => {});
  }

  /** Numbers of one sender come in order: each is greater by 1, except the first one. */
  #onNumber(/** @type {string} */ room, /** @type {string} */ from, /** @type {number} */ number) {
    receivedCount++;
    const key = `${room} ${from}`;
    const last = this.#last.get(key);
    this.#last.set(key, Math.max(last ?? 0, number));
    let next = (last ?? 0) + 1;
    while (next < number && unsent.has(`${key} ${next}`)) next++;
    if (last === undefined || number === next) return;
    const text = `${this.name}: ${number} of ${from} after ${last} in ${room}`;
    if (number === last) violation('repeated', text);
    else if (number < last) violation('disordered', text);
    else violation('lost', text);
  }

  async #send() {
    while (this.#going) {
      await pause(2_000 + Math.random() * 4_000);
      if (!this.#going) return;
      this.#number++;
      const number = this.#number;
      await Promise.all(
        this.#rooms.map((room, at) =>
          room.send('number', number).catch(() => {
            unsent.add(`${this.roomNames[at]} ${this.name} ${number}`);
          }),
        ),
      );
      sentCount += this.#rooms.length;
      if (Math.random() < 0.05)
        this.client.setStatus(Math.random() < 0.5 ? 'away' : 'online').catch(() => {});
      if (Math.random() < 0.05) this.#rooms[0]?.startTyping();
    }
  }

  async quiet() {
    this.#going = false;
    await this.#sending.catch(() => {});
  }

  close() {
    this.#going = false;
    this.client.close();
  }
}

const redis = await FaultServer.start();
const servers = Array.from({ length: SERVERS }, () => new ServerProcess(redis.port));
const ports = await Promise.all(servers.map(({ ready }) => ready));
const networks = ports.map((port) => new FaultyNetwork(port));
const addresses = await Promise.all(networks.map((network) => network.listen()));
let attempts = 0;
const url = () => `ws://127.0.0.1:${addresses[attempts++ % addresses.length]}`;

const observerClient = new Redis({ host: '127.0.0.1', port: redis.port });
const observer = new PresenceService({
  redis: observerClient,
  lease: 10_000,
  onError: (error) => violation('errors', `observer: ${error.message}`),
});
/** @type {Map<string, string>} */
const statuses = new Map();
let changes = 0;
await observer.subscribe(({ userId, status, previous }) => {
  changes++;
  if ((statuses.get(userId) ?? 'offline') !== previous) {
    violation('events', `${userId}: ${previous} > ${status}, was ${statuses.get(userId)}`);
  }
  if (status === 'offline') statuses.delete(userId);
  else statuses.set(userId, status);
});

/** @type {Set<User>} */
const users = new Set();
const started = performance.now();
const minutes = () => (performance.now() - started) / 60_000;
while (users.size < CLIENTS) {
  users.add(new User(url));
  await pause(5);
}
/** @type {{ minute: number, bytes: number[], descriptors: number[], keys: number, memory: number }[]} */
const samples = [];
let nextSample = 2;
let churned = 0;
while (minutes() < MINUTES) {
  // About one user a second leaves, and another comes.
  await pause(500 + Math.random() * 1_000);
  const [oldest] = users;
  if (oldest !== undefined) {
    users.delete(oldest);
    oldest.close();
    churned++;
  }
  users.add(new User(url));
  if (minutes() < nextSample) continue;
  nextSample += SAMPLE_MS / 60_000;
  const seen = await Promise.all(servers.map((server) => server.ask('sample')));
  samples.push({
    minute: minutes(),
    bytes: seen.map(({ bytes }) => bytes),
    descriptors: seen.map(({ descriptors }) => descriptors),
    // Without those of users who have gone, kept for `lastSeenTtl` and the history's, and of sends, for an hour.
    keys: (await redis.control.keys('*')).filter((key) => !/:(user|once|last):/.test(key)).length,
    memory: Number(/used_memory:(\d+)/.exec(await redis.control.info('memory'))?.[1]),
  });
  console.log(
    JSON.stringify({ ...samples.at(-1), sent: sentCount, received: receivedCount, reconnects, wrong }),
  );
}

// The network is calm: everything must become right.
for (const network of networks) network.rough = false;
await Promise.all([...users].map((user) => user.ready));
await Promise.all([...users].map((user) => user.quiet()));
const expected = [...users].map(({ name }) => name).sort();
const online = async () => {
  /** @type {string[]} */
  const found = [];
  for await (const user of observer.listOnlineUsers()) found.push(user);
  return found.sort();
};
const same = (/** @type {unknown} */ one, /** @type {unknown} */ other) =>
  JSON.stringify(one) === JSON.stringify(other);
await until(async () => same(await online(), expected), 'presence', 60_000, 500).catch(async () => {
  const found = await online();
  for (const name of expected) if (!found.includes(name)) violation('presence', `${name} is missing`);
  for (const name of found) if (!expected.includes(name)) violation('presence', `${name} is a ghost`);
});
for (let at = 0; at < ROOMS; at++) {
  const room = `room-${at}`;
  const should = [...users]
    .filter(({ roomNames }) => roomNames.includes(room))
    .map(({ name }) => name)
    .sort();
  const members = async () => (await observer.getRoomMembers(room)).map(({ userId }) => userId).sort();
  await until(async () => same(await members(), should), room, 30_000, 500).catch(async () =>
    violation('rooms', `${room} has ${(await members()).length} members instead of ${should.length}`),
  );
}
for (const user of users) user.close();
await until(async () => (await online()).length === 0, 'everybody offline', GRACE + 30_000, 500).catch(() =>
  violation('presence', 'somebody is still online'),
);
for (const server of servers) {
  for (const error of await server.ask('errors')) violation('errors', error);
}
await Promise.all(servers.map((server) => server.ask('close')));
await observer.close();

/** @type {Map<string, { count: number, unlimited: number }>} */
const left = new Map();
for (const key of await redis.control.keys('*')) {
  const kind = key
    .replace(/user-\d+|room-\d+/g, '<id>')
    .replace(/#[\w-]+/g, '#<id>')
    .replace(/(once:.*:)[\w-]{43}$/, '$1<hash>');
  const entry = left.get(kind) ?? { count: 0, unlimited: 0 };
  entry.count++;
  if ((await redis.control.pttl(key)) === -1) entry.unlimited++;
  left.set(kind, entry);
}

/** Growth from the first third of the samples to the last, in percent. */
function growth(/** @type {number[]} */ series) {
  const third = Math.max(1, Math.floor(series.length / 3));
  const mean = (/** @type {number[]} */ some) => some.reduce((sum, one) => sum + one, 0) / some.length;
  return Math.round((100 * mean(series.slice(-third))) / mean(series.slice(0, third)) - 100);
}
const faults = networks.map(({ faults }) => faults);
const total = (/** @type {'cut' | 'halfClosed' | 'silent'} */ kind) =>
  faults.reduce((sum, one) => sum + one[kind], 0);
const flat = {
  memory: servers.map((_, at) => growth(samples.map(({ bytes }) => Number(bytes[at])))),
  descriptors: servers.map((_, at) => growth(samples.map(({ descriptors }) => Number(descriptors[at])))),
  keys: growth(samples.map(({ keys }) => keys)),
};
console.log(
  JSON.stringify(
    {
      minutes: MINUTES,
      clients: CLIENTS,
      churned,
      sent: sentCount,
      failedSends: unsent.size,
      received: receivedCount,
      changes,
      reconnects,
      cut: total('cut'),
      halfClosed: total('halfClosed'),
      silent: total('silent'),
      wrong,
      examples,
      growthInPercent: flat,
      first: samples[0],
      last: samples.at(-1),
      left: Object.fromEntries(left),
    },
    null,
    1,
  ),
);
for (const network of networks) network.stop();
for (const { child } of servers) child.disconnect();
observerClient.disconnect();
await redis.stop();
const bad = Object.values(wrong).some((count) => count > 0);
const grows = [...flat.memory, ...flat.descriptors, flat.keys].some((percent) => percent > 15);
process.exit(bad || grows ? 1 : 0);
