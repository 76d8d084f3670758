import { bufferCodec, type Discontinuity, type PubSubOptions, PubSubService } from 'rollcall';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ioredis, type Maker, nodeRedis } from '../shared/redis-clients.js';
import { timeLimit } from '../support/machine.js';
import { type RedisServer, startRedis } from '../support/redis-server.js';
import { startNumbProxy } from '../support/subscriber-blackhole-proxy.js';
import { startFaultyProxy } from '../support/tcp-proxy.js';
import { waitFor } from '../support/wait.js';
import {
  counterInRedis,
  lostUnnoticed,
  rereadOnReady,
  rollcallSystem,
  type System,
  type SystemMaker,
} from './pubsub-baselines.js';

// Numbered messages at a steady rate while real servers are killed, frozen, wiped and cut off. With history
// nothing may be lost, doubled or reordered; without it every loss must lie in a reported discontinuity.

const HISTORY = { size: 20_000, ttl: 600_000 };
/** A pause of the publisher between two messages, in ms; the length of a fault. */
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const random = (below: number) => Math.floor(Math.random() * below);

let cleanUps: (() => unknown)[];
beforeEach(() => {
  cleanUps = [];
});
afterEach(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

function report(what: string): void {
  console.log(`  ${what}`);
}

async function redis(...args: string[]): Promise<RedisServer> {
  // A replica is to begin at once, not when others might have come too.
  const server = await startRedis({ args: ['--repl-diskless-sync-delay', '0', ...args] });
  cleanUps.push(() => server.stop());
  return server;
}

function service(make: Maker, port: number, options: Partial<PubSubOptions> = {}): PubSubService {
  const { client, end } = make(port);
  const one = new PubSubService({ redis: client, ...options });
  cleanUps.push(end, () => one.close());
  return one;
}

/** A discontinuity, and when it was reported. */
interface Gap extends Discontinuity {
  readonly reported: number;
}

/** What a handler saw: a number, or a discontinuity. */
type Event = number | Gap;

const withTime = (gap: Discontinuity): Gap => ({ ...gap, reported: Date.now() });

/** Publishes 1, 2, 3, … to a channel with history, and beside it to one without. */
class Numbering {
  /** The last that Redis has acknowledged. */
  kept = 0;
  plain = 0;
  /** Those without history that Redis has acknowledged: no other can count as lost. */
  readonly acknowledged = new Set<number>();
  /** Between when and when those with history were published for the last time. */
  readonly times = new Map<number, readonly [sent: number, acknowledged: number]>();
  /** Calls with history that failed, and were repeated here. */
  failures = 0;
  readonly #service: PubSubService;
  readonly #sharded: boolean;
  readonly #loops: Promise<unknown>[] = [];
  #over = false;

  constructor(service: PubSubService, sharded: boolean) {
    this.#service = service;
    this.#sharded = sharded;
  }

  begin(): void {
    this.#loops.push(this.#keep(), this.#send());
  }

  async end(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#loops);
  }

  /** A message with history is repeated until it is known to be there. */
  async #keep(): Promise<void> {
    for (let number = 1; !this.#over; number++) {
      for (let done = false; !done; ) {
        const sent = Date.now();
        done = await this.#service
          .publish('kept', number, {
            history: HISTORY,
            idempotencyKey: `number ${number}`,
            sharded: this.#sharded,
          })
          .then(
            () => true,
            () => false,
          );
        if (!done) this.failures++;
        this.times.set(number, [sent, Date.now()]);
      }
      this.kept = number;
      await pause(random(4));
    }
  }

  /** One without is sent once: repeated, it could come twice. */
  async #send(): Promise<void> {
    for (let number = 1; !this.#over; number++) {
      await this.#service.publish('plain', number, { sharded: this.#sharded }).then(
        () => this.acknowledged.add(number),
        () => {},
      );
      this.plain = number;
      await pause(random(2));
    }
  }
}

/** A subscriber of both channels, and what it saw. */
class Receiver {
  readonly kept: Event[] = [];
  readonly plain: Event[] = [];
  /** With history too, by a loop that has next to no room. */
  readonly looped: Event[] = [];
  readonly service: PubSubService;
  readonly #sharded: boolean;

  constructor(service: PubSubService, sharded: boolean) {
    this.service = service;
    this.#sharded = sharded;
  }

  async begin(): Promise<void> {
    const sharded = this.#sharded;
    await this.service.subscribe<number>('kept', (number) => void this.kept.push(number), {
      sharded,
      since: 'latest',
      onDiscontinuity: (gap) => void this.kept.push(withTime(gap)),
    });
    await this.service.subscribe<number>('plain', (number) => void this.plain.push(number), {
      sharded,
      onDiscontinuity: (gap) => void this.plain.push(withTime(gap)),
    });
    const loop = this.service.messages<number>('kept', {
      sharded,
      since: 'latest',
      capacity: 3,
      discontinuities: true,
    });
    await loop.ready;
    void (async () => {
      for await (const item of loop) {
        this.looped.push('message' in item ? item.message : withTime(item.discontinuity));
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
  }
}

const gapsOf = (events: readonly Event[]) => events.filter((event) => typeof event !== 'number');
const numbersOf = (events: readonly Event[]) => events.filter((event) => typeof event === 'number');
const lastOf = (events: readonly Event[]) => numbersOf(events).at(-1) ?? 0;

/**
 * Places where the numbers do not simply go on, though no unrecovered discontinuity says so: one that was reported
 * right before, or one in whose stretch everything was published that is missing. A server that has
 * taken the place of another cannot say what that one had, only since when there may be something missing.
 */
function breaches(events: readonly Event[], times?: Numbering['times']): string[] {
  const stretches = gapsOf(events).filter(({ recovered }) => !recovered);
  const inside = (number: number) => {
    const [sent, acknowledged] = times?.get(number) ?? [0, Number.POSITIVE_INFINITY];
    return stretches.some(({ since, reported }) => sent <= reported && acknowledged >= since.getTime());
  };
  const missing = (from: number, to: number) => {
    for (let number = from + 1; number < to; number++) if (!inside(number)) return true;
    return to <= from;
  };
  const found: string[] = [];
  let last: number | undefined;
  let excused = false;
  for (const event of events) {
    if (typeof event !== 'number') {
      excused ||= !event.recovered;
      continue;
    }
    if (last !== undefined && event !== last + 1 && !excused && missing(last, event)) {
      found.push(`${last} → ${event}`);
    }
    last = event;
    excused = false;
  }
  return found;
}

/** Everything from the first number to the last was delivered once and in order, whichever discontinuities were reported. */
function expectAll(events: readonly Event[]): void {
  expect(breaches(numbersOf(events))).toEqual([]);
}

/** Acknowledged numbers that are missing, or come late or twice, where no discontinuity says so. */
function losses(events: readonly Event[], acknowledged: ReadonlySet<number>): string[] {
  const found: string[] = [];
  let last: number | undefined;
  let excused = false;
  for (const event of events) {
    if (typeof event !== 'number') {
      excused = true;
      continue;
    }
    if (last !== undefined && event <= last) found.push(`${last} → ${event}`);
    for (let number = (last ?? event) + 1; number < event && !excused; number++) {
      if (acknowledged.has(number)) found.push(`${number} is lost`);
    }
    last = event;
    excused = false;
  }
  return found;
}

/** A publisher and a subscriber on the run; the subscriber by `make`. */
class Run {
  readonly numbering: Numbering;
  readonly receiver: Receiver;

  constructor(numbering: Numbering, receiver: Receiver) {
    this.numbering = numbering;
    this.receiver = receiver;
  }

  static async begin(
    make: Maker,
    ports: { publisher: number; subscriber: number },
    options: Partial<PubSubOptions> = {},
    sharded = false,
  ): Promise<Run> {
    const run = new Run(
      new Numbering(service(nodeRedis, ports.publisher, { timeout: 10_000 }), sharded),
      new Receiver(service(make, ports.subscriber, options), sharded),
    );
    await run.receiver.begin();
    run.numbering.begin();
    cleanUps.push(() => run.numbering.end());
    await run.untilReceived(20);
    return run;
  }

  /** Waits until `count` more numbers have been published and received on both channels. */
  async untilReceived(count = 1 + random(40)): Promise<void> {
    const { numbering, receiver } = this;
    const [kept, plain] = [numbering.kept + count, numbering.plain + count];
    await waitFor(() => numbersOf(receiver.kept).length > 0 && lastOf(receiver.kept) >= kept, {
      timeout: 20_000,
      interval: 2,
      message: () => `number ${kept} with history; the last were ${JSON.stringify(receiver.kept.slice(-5))}`,
    });
    await waitFor(() => lastOf(receiver.plain) >= plain, {
      timeout: 20_000,
      interval: 2,
      message: () => `number ${plain}; the last were ${JSON.stringify(receiver.plain.slice(-5))}`,
    });
  }

  /** Waits until `count` discontinuities have been reported to both handlers. */
  async untilReported(count: number): Promise<void> {
    const counts = () => [gapsOf(this.receiver.kept).length, gapsOf(this.receiver.plain).length];
    await waitFor(() => counts().every((one) => one >= count), {
      timeout: 20_000,
      interval: 2,
      message: () => `${count} discontinuities; reported were ${counts()}`,
    });
  }

  /** Publishing stops, and all messages acknowledged with history have been received. */
  async end(): Promise<void> {
    const { numbering, receiver } = this;
    await this.untilReceived();
    await numbering.end();
    for (const events of [receiver.kept, receiver.looped]) {
      await waitFor(() => lastOf(events) === numbering.kept, {
        timeout: 20_000,
        message: () => `the last number, ${numbering.kept}; it is ${lastOf(events)}`,
      });
      expect(breaches(events, numbering.times)).toEqual([]);
    }
    expect(losses(receiver.plain, numbering.acknowledged)).toEqual([]);
  }

  /** Nothing was lost with history, and the discontinuities of both handlers have these `reasons`. */
  expectRecovered(reasons: string[]): void {
    const { kept, plain, looped } = this.receiver;
    expectAll(kept);
    expectAll(looped);
    for (const gap of gapsOf(looped)) expect(gap.recovered).toBe(true);
    expect(gapsOf(kept).map(({ reason, recovered }) => [reason, recovered])).toEqual(
      reasons.map((reason) => [reason, true]),
    );
    expect(gapsOf(plain).map(({ reason, recovered }) => [reason, recovered])).toEqual(
      reasons.map((reason) => [reason, false]),
    );
  }

  report(what: string): void {
    const { kept, plain } = this.receiver;
    const [first, last] = [numbersOf(plain)[0] ?? 0, lastOf(plain)];
    const missing = [...this.numbering.acknowledged].filter((number) => number > first && number < last);
    const lost = missing.length - missing.filter((number) => numbersOf(plain).includes(number)).length;
    const reasons = [
      ...new Set(gapsOf(kept).map(({ reason, recovered }) => `${reason}${recovered ? '' : '!'}`)),
    ];
    report(
      `${what}: ${numbersOf(kept).length} with history, ${numbersOf(plain).length} without and ${lost} lost; ${gapsOf(kept).length} discontinuities: ${reasons.join(', ')}`,
    );
  }
}

const subscribers: [string, Maker][] = [
  ['node-redis', nodeRedis],
  ['ioredis', ioredis],
];

describe.each(subscribers)('%s', (name, make) => {
  const on = ({ port }: { port: number }) => ({ publisher: port, subscriber: port });

  test('a run without faults reports no discontinuity', async () => {
    const server = await redis();
    const run = await Run.begin(make, on(server), { probeInterval: 50 });
    await run.untilReceived(400);
    await run.end();
    run.expectRecovered([]);
    expect(losses(numbersOf(run.receiver.plain), run.numbering.acknowledged)).toEqual([]);
  });

  test('subscriber connections killed repeatedly', async () => {
    const server = await redis();
    const run = await Run.begin(make, on(server));
    const rounds = 60;
    for (let round = 1; round <= rounds; round++) {
      expect(Number(await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub'))).toBe(1);
      await run.untilReported(round);
      await run.untilReceived();
    }
    await run.end();
    run.report(`${name}: ${rounds} kills`);
    run.expectRecovered(Array.from({ length: rounds }, () => 'reconnected'));
  });

  test('connections of sharded channels killed repeatedly', async () => {
    const server = await redis();
    const run = await Run.begin(make, on(server), {}, true);
    for (let round = 1; round <= 20; round++) {
      await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await run.untilReported(round);
      await run.untilReceived();
    }
    await run.end();
    run.report(`${name}: 20 kills, sharded`);
    run.expectRecovered(Array.from({ length: 20 }, () => 'reconnected'));
  });

  test('connections killed during resubscription and while history is read', async () => {
    const server = await redis();
    const run = await Run.begin(make, on(server));
    for (let round = 1; round <= 10; round++) {
      for (let kill = 0; kill < 10; kill++) {
        await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
        // Whoever has connected and not yet subscribed too, and the commands that read history.
        if (kill % 2 === 1) await server.cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        // At any moment of what follows.
        await pause(random(70));
      }
      await run.untilReceived();
    }
    await run.end();
    run.report(`${name}: 100 kills in 10 volleys`);
    // What was left in doubt, the service itself has repeated.
    expect(run.numbering.failures).toBe(0);
    expectAll(run.receiver.kept);
    expectAll(run.receiver.looped);
    for (const { reason, recovered } of gapsOf(run.receiver.kept)) {
      expect([reason, recovered]).toEqual(['reconnected', true]);
    }
  });

  // node-redis sends nothing for that.
  test.skipIf(name !== 'ioredis')('killed while payloads are asked for as bytes', async () => {
    const server = await redis();
    const proxy = await startNumbProxy(server.port);
    const { client, end } = make(proxy.port);
    const text = new PubSubService({ redis: client });
    const bytes = new PubSubService({ redis: client, codec: bufferCodec });
    cleanUps.push(
      () => proxy.stop(),
      end,
      () => bytes.close(),
      () => text.close(),
    );
    const gaps: Discontinuity[] = [];
    await text.subscribe('plain', () => {}, { onDiscontinuity: (gap) => void gaps.push(gap) });
    proxy.stall();
    const subscribed = bytes.subscribe('plain', () => {});
    await waitFor(async () => /cmdstat_subscribe:calls=2,/.test(await server.cli('INFO', 'commandstats')), {
      message: 'the second SUBSCRIBE',
    });
    await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
    // Its answer is lost with the connection.
    proxy.numb();
    proxy.flow();
    await subscribed;
    await waitFor(() => gaps.length > 0, { message: 'a discontinuity for the handler of text' });
    expect(gaps.map(({ reason, recovered }) => [reason, recovered])).toEqual([['reconnected', false]]);
  });

  test('Redis killed and restarted with its data', async () => {
    const server = await redis('--appendonly', 'yes', '--appendfsync', 'always');
    const run = await Run.begin(make, on(server));
    for (let round = 1; round <= 4; round++) {
      await server.kill();
      await server.restart();
      await run.untilReported(round);
      await run.untilReceived();
    }
    await run.end();
    run.report(`${name}: 4 restarts with an append-only file`);
    expectAll(run.receiver.kept);
    expectAll(run.receiver.looped);
  });

  test('Redis killed and restarted without data', async () => {
    const server = await redis();
    const run = await Run.begin(make, on(server));
    for (let round = 1; round <= 4; round++) {
      await server.kill();
      await server.restart();
      await run.untilReported(round);
      await run.untilReceived();
      const last = gapsOf(run.receiver.kept).at(-1);
      expect(last?.recovered).toBe(false);
    }
    await run.end();
    run.report(`${name}: 4 restarts without persistence`);
  });

  test('Redis frozen for a while', async () => {
    const server = await redis();
    const run = await Run.begin(make, on(server), { probeInterval: 100 });
    for (let round = 0; round < 2; round++) {
      server.freeze();
      await pause(1_500 + random(500));
      server.thaw();
      await run.untilReceived();
    }
    await run.end();
    // Late is not lost.
    run.expectRecovered([]);
    expect(losses(numbersOf(run.receiver.plain), run.numbering.acknowledged)).toEqual([]);
  });

  test('an output buffer that overflows', async () => {
    const server = await redis('--client-output-buffer-limit', 'pubsub 1mb 0 0');
    const proxy = await startNumbProxy(server.port);
    cleanUps.push(() => proxy.stop());
    const run = await Run.begin(make, { publisher: server.port, subscriber: proxy.port });
    let filled = 0;
    await run.receiver.service.subscribe('filler', () => void filled++, { raw: true });
    const filler = 'x'.repeat(50_000);
    for (let round = 1; round <= 3; round++) {
      proxy.stall();
      // Sockets hold some megabytes before the buffer begins to fill.
      await waitFor(async () => (await server.cli('PUBLISH', 'filler', filler)) === '0', {
        timeout: 20_000,
        interval: 1,
        message: 'the subscriber to be thrown out',
      });
      const { numbering } = run;
      const lost = numbering.plain + 20;
      await waitFor(() => numbering.plain > lost, { message: 'messages in the gap' });
      proxy.flow();
      await run.untilReported(round);
      await run.untilReceived();
    }
    expect(filled).toBeGreaterThan(0);
    await run.end();
    run.report(`${name}: 3 output buffers run over`);
    run.expectRecovered(Array.from({ length: 3 }, () => 'reconnected'));
    expect(losses(numbersOf(run.receiver.plain), run.numbering.acknowledged)).not.toEqual([]);
  });

  test('a connection that dies without closing is found by the probe', async () => {
    const server = await redis();
    const proxy = await startNumbProxy(server.port);
    cleanUps.push(() => proxy.stop());
    const run = await Run.begin(
      make,
      { publisher: server.port, subscriber: proxy.port },
      { probeInterval: 200 },
    );
    for (let round = 1; round <= 2; round++) {
      proxy.numb();
      const began = performance.now();
      await run.untilReported(round);
      report(`${name}: dead connection found after ${((performance.now() - began) / 1_000).toFixed(1)} s`);
      await run.untilReceived();
    }
    await run.end();
    run.report(`${name}: 2 dead connections`);
    run.expectRecovered(['unresponsive', 'unresponsive']);
    expect(losses(numbersOf(run.receiver.plain), run.numbering.acknowledged)).not.toEqual([]);
  });

  test('all data deleted during the run', async () => {
    const server = await redis();
    const run = await Run.begin(make, on(server));
    for (let round = 1; round <= 10; round++) {
      // Every other time no handler is subscribed when it happens.
      if (round % 2 === 0) await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await server.cli('FLUSHALL');
      await run.untilReceived();
      const wiped = gapsOf(run.receiver.kept).filter(({ recovered }) => !recovered);
      expect(wiped).toHaveLength(round);
      expect(wiped.at(-1)?.reason).toBe('wiped');
    }
    await run.end();
    run.report(`${name}: 10 times FLUSHALL`);
    // Messages without history do not depend on any data.
    expect(gapsOf(run.receiver.plain)).toHaveLength(5);
  });

  test('failovers to a replica that lacks the last acknowledged writes', async () => {
    let [master, replica] = [await redis(), await redis()];
    const publishing = await startFaultyProxy(master.port);
    const subscribing = await startFaultyProxy(master.port);
    cleanUps.push(
      () => publishing.stop(),
      () => subscribing.stop(),
    );
    const run = await Run.begin(make, { publisher: publishing.port, subscriber: subscribing.port });
    const { numbering, receiver } = run;
    for (let round = 1; round <= 6; round++) {
      await follow(replica, master);
      await run.untilReceived();
      await caughtUp(replica, master);
      await replica.cli('REPLICAOF', 'NO', 'ONE');
      // What comes now is acknowledged, and lost.
      const away = round % 2 === 0;
      if (away) subscribing.cut();
      const lastBeforeWipe = numbering.kept + 5 + random(20);
      await waitFor(
        () => numbering.kept > lastBeforeWipe && (away || lastOf(receiver.kept) > lastBeforeWipe),
        {
          message: 'messages that will be lost',
        },
      );
      const events = receiver.kept.length;
      subscribing.switchTo(replica.port);
      publishing.switchTo(replica.port);
      if (away) {
        // The new master has gone beyond the place of what was lost before anybody listens.
        const beyond = numbering.kept + 20 + random(40);
        await waitFor(() => numbering.kept > beyond, { timeout: 20_000, message: 'the new master to go on' });
        subscribing.restore();
      }
      await run.untilReceived();
      const gaps = gapsOf(receiver.kept.slice(events)).filter(({ recovered }) => !recovered);
      expect(gaps.length).toBeGreaterThan(0);
      [master, replica] = [replica, master];
    }
    await run.end();
    run.report(`${name}: 6 failovers that lost acknowledged messages`);
  });
});

/** `replica` is one of `master`, and has got everything so far. */
async function follow(replica: RedisServer, master: RedisServer): Promise<void> {
  await replica.cli('REPLICAOF', '127.0.0.1', String(master.port));
  await waitFor(async () => (await replica.cli('INFO', 'replication')).includes('master_link_status:up'), {
    timeout: 15_000,
    interval: 50,
    message: 'the replica',
  });
}

/** The replica has got everything that the master has acknowledged up to now. */
async function caughtUp(replica: RedisServer, master: RedisServer): Promise<void> {
  const offset = async (server: RedisServer, name: string) =>
    Number(new RegExp(`${name}:(\\d+)`).exec(await server.cli('INFO', 'replication'))?.[1]);
  const goal = await offset(master, 'master_repl_offset');
  await waitFor(async () => (await offset(replica, 'slave_repl_offset')) >= goal, {
    timeout: 15_000,
    message: 'the replica to catch up',
  });
}

describe('simpler implementations fail where rollcall does not', () => {
  /** Publishes `from` to `to`, and waits until they are received, except those that were lost. */
  async function publish(system: System, from: number, to: number): Promise<void> {
    for (let number = from; number <= to; number++) await system.publish(number);
  }
  const untilHeard = (system: System, number: number) =>
    waitFor(() => system.seen.includes(number), {
      timeout: 15_000,
      interval: 2,
      message: () => `number ${number}; the last were ${JSON.stringify(system.seen.slice(-3))}`,
    });

  /** A failover that loses acknowledged messages, and a subscriber who comes back when others have taken their place. */
  async function failover(make: SystemMaker): Promise<System> {
    const [master, replica] = [await redis(), await redis()];
    const publishing = await startFaultyProxy(master.port);
    const subscribing = await startFaultyProxy(master.port);
    const system = await make(publishing.port, subscribing.port);
    cleanUps.push(
      () => publishing.stop(),
      () => subscribing.stop(),
      () => system.close(),
    );
    await follow(replica, master);
    await publish(system, 1, 50);
    await caughtUp(replica, master);
    await replica.cli('REPLICAOF', 'NO', 'ONE');
    await publish(system, 51, 70);
    await untilHeard(system, 70);
    subscribing.cut();
    subscribing.switchTo(replica.port);
    publishing.switchTo(replica.port);
    await publish(system, 71, 110);
    subscribing.restore();
    await untilHeard(system, 110);
    await publish(system, 111, 120);
    await untilHeard(system, 120);
    return system;
  }

  test('a counter in Redis numbers other messages with the same numbers after a failover', async () => {
    const naive = lostUnnoticed((await failover(counterInRedis)).seen);
    report(`a counter in Redis lost ${naive.length} of 120 messages unnoticed`);
    expect(naive).not.toEqual([]);
  });

  test.each(['node-redis', 'ioredis'] as const)('… and rollcall reports it, with %s', async (library) => {
    const { seen } = await failover((...ports) => rollcallSystem(library, ...ports));
    expect(lostUnnoticed(seen)).toEqual([]);
    expect(seen).toContainEqual({ gap: { reason: expect.any(String), recovered: false } });
  });

  /** Kills subscriber connections under a steady stream of messages until one is lost unnoticed, at most so often. */
  async function kills(
    make: SystemMaker,
    most: number,
  ): Promise<{ lost: number[]; rounds: number; sent: number }> {
    const server = await redis();
    const system = await make(server.port, server.port);
    let sent = 0;
    let over = false;
    const publishing = (async () => {
      while (!over) {
        await system.publish(sent + 1);
        sent++;
      }
    })();
    const result = async (rounds: number) => {
      over = true;
      await publishing;
      await untilHeard(system, sent);
      return { lost: lostUnnoticed(system.seen), rounds, sent };
    };
    cleanUps.push(async () => {
      over = true;
      await system.close();
      await publishing;
    });
    for (let round = 1; round <= most; round++) {
      const goal = sent + 20 + random(50);
      await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await waitFor(() => typeof system.seen.at(-1) === 'number' && (system.seen.at(-1) as number) > goal, {
        timeout: 15_000,
        interval: 2,
        message: () => `number ${goal} after kill ${round}`,
      });
      if (lostUnnoticed(system.seen).length > 0) return result(round);
    }
    return result(most);
  }

  test.each(['node-redis', 'ioredis'] as const)(
    'reading history again when %s says that it is ready: what comes in between is lost',
    async (library) => {
      const naive = await kills((...ports) => rereadOnReady(library, ...ports), 100);
      report(
        `re-reading on ready with ${library} lost ${naive.lost.length} of ${naive.sent} messages unnoticed within ${naive.rounds} kills`,
      );
      expect(naive.lost).not.toEqual([]);
    },
  );

  test.each(['node-redis', 'ioredis'] as const)('… and rollcall loses nothing, with %s', async (library) => {
    expect((await kills((...ports) => rollcallSystem(library, ...ports), 40)).lost).toEqual([]);
  });
});

describe.each(subscribers)('a thousand recoverable subscriptions with %s', (name, make) => {
  test('survive a reconnect with few commands', async () => {
    const COUNT = 1_000;
    const server = await redis();
    const [sender, receiver] = [service(nodeRedis, server.port), service(make, server.port)];
    const events = new Map<string, Event[]>();
    const channels = Array.from({ length: COUNT }, (_, at) => `channel:${at}`);
    await Promise.all(
      channels.map((channel) => {
        const own: Event[] = [];
        events.set(channel, own);
        return receiver.subscribe<number>(channel, (number) => void own.push(number), {
          since: 'latest',
          onDiscontinuity: (gap) => void own.push(withTime(gap)),
        });
      }),
    );
    const publishAll = (number: number) =>
      Promise.all(channels.map((channel) => sender.publish(channel, number, { history: HISTORY })));
    const all = (done: (own: Event[]) => boolean, what: string) =>
      waitFor(() => [...events.values()].every(done), { timeout: 20_000, interval: 2, message: what });
    const stat = async (section: string, field: string) =>
      Number(new RegExp(`${field}(?:calls=)?(\\d+)`).exec(await server.cli('INFO', section))?.[1] ?? 0);

    await publishAll(1);
    await all((own) => own.includes(1), 'the first message');

    // A quiet reconnect: what it costs.
    await server.cli('CONFIG', 'RESETSTAT');
    const reads = await stat('stats', 'total_reads_processed:');
    const began = performance.now();
    await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await all((own) => gapsOf(own).length === 1, 'a discontinuity for every handler');
    const took = performance.now() - began;
    const subscribes = await stat('commandstats', 'cmdstat_subscribe:');
    const scripts =
      (await stat('commandstats', 'cmdstat_evalsha:')) + (await stat('commandstats', 'cmdstat_eval:'));
    const mgets = await stat('commandstats', 'cmdstat_mget:');
    const trips = (await stat('stats', 'total_reads_processed:')) - reads;
    report(
      `${name}: ${COUNT} subscriptions back in ${Math.round(took)} ms: ${subscribes} SUBSCRIBE, ${mgets} MGET, ${scripts} script calls, ${trips} reads of a socket by Redis`,
    );
    expect(subscribes).toBeLessThanOrEqual(2);
    // The last positions show that nothing was missed; one read also identifies the server.
    expect(mgets).toBeGreaterThanOrEqual(1);
    expect(mgets).toBeLessThanOrEqual(3);
    expect(scripts).toBeLessThanOrEqual(5);
    expect(trips).toBeLessThanOrEqual(30);
    expect(took).toBeLessThan(timeLimit(10_000));

    // And one with messages on their way: each is there once, and in order.
    const [sent] = await Promise.all([publishAll(2), server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub')]);
    expect(sent).toHaveLength(COUNT);
    await publishAll(3);
    await all((own) => own.includes(3), 'the last message');
    await all((own) => gapsOf(own).length === 2, 'a discontinuity for every handler');
    for (const own of events.values()) {
      expect(numbersOf(own)).toEqual([1, 2, 3]);
      expect(gapsOf(own).map(({ reason, recovered }) => [reason, recovered])).toEqual([
        ['reconnected', true],
        ['reconnected', true],
      ]);
    }
  });
});
