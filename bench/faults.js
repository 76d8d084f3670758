// @ts-check
// node bench/faults.js [--runs N] [--parallel N] [--docs] [name ...]
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { FaultGroup, FaultProxy, FaultServer, pause, until, users } from './support/fault-setup.js';

/** Short, so that many runs are possible; all waits scale with it. */
const LEASE = 2_000;
const RENEW = LEASE / 3;
const SWEEP = LEASE / 4;
/** Number of concurrent runs of faults that affect a process only. */
let CONCURRENT_RUNS = 4;
const LIMIT_MS = 60 * 60_000;
/** Short, so that evicted keys are noticed soon. */
const KEY_TTL = 6 * LEASE;

/**
 * The result of one run: its duration in ms, and the number of users that were wrongly announced
 * offline, or announced twice.
 *
 * @typedef {{ ms: number, wrong: number }} Outcome
 *
 * @typedef {object} Scenario
 * @property {string} name
 * @property {string} fault
 * @property {string} measured
 * @property {string} promise
 * @property {number} [bound] the promise at this lease, in ms
 * @property {string} usual the promise with the defaults
 * @property {string} test
 * @property {(runs: number, tick: () => void) => Promise<Outcome[] | Record<string, Outcome[]>>} run
 */

const FAILOVER = 'presence-failover-faults';
const CRASH = 'presence-crash-faults';
const OWNERS = 'presence-owners';

/**
 * @template T
 * @param {T | undefined} value
 */
function must(value) {
  if (value === undefined) throw new Error('there is no such process');
  return value;
}

/** A moment anywhere between two renewals. */
const anyMoment = () => pause(Math.random() * RENEW);

/**
 * Runs `once` in several groups side by side, each prepared with `prepare`.
 *
 * @template T
 * @param {number} runs
 * @param {() => void} tick
 * @param {number} width
 * @param {(server: FaultServer, lane: number) => Promise<{ group: FaultGroup, setting: T }>} prepare
 * @param {(group: FaultGroup, setting: T, turn: number) => Promise<Outcome | undefined>} once
 */
async function inParallel(runs, tick, width, prepare, once) {
  const server = await FaultServer.start();
  /** @type {Outcome[]} */
  const outcomes = [];
  /** @type {FaultGroup[]} */
  const groups = [];
  let turn = 0;
  try {
    await Promise.all(
      Array.from({ length: width }, async (_, lane) => {
        const { group, setting } = await prepare(server, lane);
        groups.push(group);
        while (turn < runs) {
          const mine = turn++;
          group.changes.length = 0;
          const outcome = await once(group, setting, mine);
          if (outcome === undefined) {
            turn--;
            continue;
          }
          outcomes.push(outcome);
          tick();
        }
      }),
    );
  } finally {
    await Promise.all(groups.map((group) => group.stop()));
    await server.stop();
  }
  return outcomes;
}

/** Announcements of going offline beyond one for each of `count` users with `prefix`. */
function wrongOf(/** @type {FaultGroup} */ group, /** @type {string} */ prefix, /** @type {number} */ count) {
  const all = group.offline();
  const right = new Set(group.offline(prefix).map(({ user }) => user));
  return all.length - right.size + Math.abs(count - right.size);
}

/** Processes that stay alive, with users of their own. */
async function survivors(
  /** @type {FaultServer} */ server,
  /** @type {string} */ prefix,
  /** @type {number} */ count,
  options = {},
) {
  const group = new FaultGroup(server, prefix, LEASE);
  const setting = await group.start(count, options);
  await Promise.all(setting.map((node, at) => node.register(users(`stays${at}-`, 20))));
  await group.settle();
  return { group, setting };
}

/** @param {FaultGroup} group @param {number} count */
const onlyLeases = (group, count) =>
  until(
    async () => (await group.server.control.zcard(`${group.base}:nodes`)) === count,
    `${count} nodes left`,
  );

/** @type {Scenario[]} */
const scenarios = [
  {
    name: 'kill',
    fault: 'process SIGKILLed, 100 users',
    measured: 'kill to the last `offline`',
    promise: 'lease + 2 s',
    bound: LEASE + 2_000,
    usual: '32 s',
    test: `${CRASH}: a process that is killed; ${FAILOVER}: a process of 50,000 sockets`,
    run: (runs, tick) =>
      inParallel(
        runs,
        tick,
        CONCURRENT_RUNS,
        (server, lane) => survivors(server, `kill-${lane}`, 2),
        async (group, _, turn) => {
          const [victim] = await group.start(1);
          await victim?.register(users(`v${turn}-`, 100));
          await pause(SWEEP * 1.2);
          await anyMoment();
          const killed = performance.now();
          await victim?.kill();
          const gone = await group.last(`v${turn}-`, 'offline', 100);
          await onlyLeases(group, 2);
          return { ms: gone - killed, wrong: wrongOf(group, `v${turn}-`, 100) };
        },
      ),
  },
  {
    name: 'most',
    fault: '4 of 5 processes SIGKILLed, 400 users',
    measured: 'kill to the last `offline`',
    promise: '2 leases + 2 s',
    bound: 2 * LEASE + 2_000,
    usual: '62 s',
    test: `${CRASH}: a process that is killed together with all others but one`,
    run: (runs, tick) =>
      inParallel(
        runs,
        tick,
        CONCURRENT_RUNS,
        (server, lane) => survivors(server, `most-${lane}`, 1),
        async (group, _, turn) => {
          const victims = await group.start(4);
          await Promise.all(victims.map((victim, at) => victim.register(users(`v${turn}-${at}-`, 100))));
          await pause(SWEEP * 1.2);
          await anyMoment();
          const killed = performance.now();
          await Promise.all(victims.map((victim) => victim.kill()));
          const gone = await group.last(`v${turn}-`, 'offline', 400);
          await onlyLeases(group, 1);
          return { ms: gone - killed, wrong: wrongOf(group, `v${turn}-`, 400) };
        },
      ),
  },
  {
    name: 'reaper',
    fault: 'process of 5,000 sockets SIGKILLed, then its reaper half-way through',
    measured: 'first kill to the last `offline`',
    promise: 'lease + 2 s, + the claim (lease / 3, at least 1 s) + 2 sweeps',
    bound: LEASE + 2_000 + Math.max(1_000, LEASE / 3) + 2 * SWEEP,
    usual: '44 s',
    test: `${CRASH}: a process that is killed while it reaps another process`,
    run: (runs, tick) =>
      inParallel(
        runs,
        tick,
        3,
        (server, lane) => survivors(server, `reaper-${lane}`, 1),
        async (group, _, turn) => {
          const [reaper] = await group.start(1, { sweepInterval: 20 });
          const [victim] = await group.start(1);
          for (let part = 0; part < 5; part++)
            await victim?.register(users(`v${turn}-`, 1_000, part * 1_000));
          await group.settle();
          await anyMoment();
          const killed = performance.now();
          await victim?.kill();
          await until(() => group.offline(`v${turn}-`).length > 0, 'the reaper to begin', undefined, 1);
          await reaper?.kill();
          const half = group.offline(`v${turn}-`).length;
          const gone = await group.last(`v${turn}-`, 'offline', 5_000);
          await onlyLeases(group, 1);
          // The reaper had finished before it was killed: this run does not count.
          if (half >= 5_000) return undefined;
          return { ms: gone - killed, wrong: wrongOf(group, `v${turn}-`, 5_000) };
        },
      ),
  },
  {
    name: 'close',
    fault: '`close()`, 100 users',
    measured: 'call to the last `offline`',
    promise: 'at once',
    usual: 'at once',
    test: `${FAILOVER}: a deploy with close() without options`,
    run: (runs, tick) =>
      inParallel(
        runs,
        tick,
        CONCURRENT_RUNS,
        (server, lane) => survivors(server, `close-${lane}`, 1),
        async (group, _, turn) => {
          const [closing] = await group.start(1);
          await closing?.register(users(`v${turn}-`, 100));
          const start = performance.now();
          await closing?.ask('close');
          const gone = await group.last(`v${turn}-`, 'offline', 100);
          await closing?.kill();
          return { ms: gone - start, wrong: wrongOf(group, `v${turn}-`, 100) };
        },
      ),
  },
  {
    name: 'handoff',
    fault: '`close({ handoff: true })`, its 100 clients reconnect elsewhere at once',
    measured: 'call to the last client registered again',
    promise: 'at once; no `offline`',
    usual: 'at once',
    test: `${FAILOVER}: a deploy, process by process`,
    run: (runs, tick) =>
      inParallel(
        runs,
        tick,
        CONCURRENT_RUNS,
        (server, lane) => survivors(server, `handoff-${lane}`, 1),
        async (group, [successor], turn) => {
          const [closing] = await group.start(1);
          await closing?.register(users(`v${turn}-`, 100));
          const start = performance.now();
          await closing?.ask('close', { handoff: true });
          await successor?.register(users(`v${turn}-`, 100), 'online', 'again');
          const ms = performance.now() - start;
          await closing?.kill();
          // Users that presence still waits for would go offline later.
          const stillDue = await group.server.control.zcard(`${group.base}:due`);
          await pause(2 * SWEEP);
          return { ms, wrong: wrongOf(group, `v${turn}-`, 0) + stillDue };
        },
      ),
  },
  {
    name: 'frozen',
    fault: 'process SIGSTOPped for longer than its lease, then SIGCONT, 100 users',
    measured: '',
    promise: '',
    usual: '',
    test: `${CRASH}: a process that is frozen for longer than its lease`,
    run: async (runs, tick) => {
      /** @type {Outcome[]} */
      const back = [];
      const gone = await inParallel(
        runs,
        tick,
        CONCURRENT_RUNS,
        async (server, lane) => {
          const { group, setting } = await survivors(server, `frozen-${lane}`, 2);
          const [sleeper] = await group.start(1);
          await sleeper?.register(users('v-', 100));
          await group.settle();
          return { group, setting: { sleeper, other: setting } };
        },
        async (group, { sleeper }) => {
          await anyMoment();
          const frozen = performance.now();
          sleeper?.freeze();
          const last = await group.last('v-', 'offline', 100);
          const thawed = performance.now();
          sleeper?.thaw();
          const all = await group.last('v-', 'online', 100);
          await onlyLeases(group, 3);
          await pause(SWEEP);
          back.push({ ms: all - thawed, wrong: 0 });
          return { ms: last - frozen, wrong: wrongOf(group, 'v-', 100) };
        },
      );
      return { gone, back };
    },
  },
  {
    name: 'redis-frozen',
    fault: 'Redis SIGSTOPped for 3 leases, 6 processes, 300 users',
    measured: '`offline` events during the freeze and the 3 leases after it',
    promise: 'none',
    usual: 'none',
    test: `${CRASH}: Redis frozen for longer than a lease`,
    run: async (runs, tick) => {
      const server = await FaultServer.start();
      const groups = Array.from(
        { length: Math.min(4, runs) },
        (_, at) => new FaultGroup(server, `freeze-${at}`, LEASE),
      );
      /** @type {Outcome[]} */
      const outcomes = [];
      try {
        for (const group of groups) {
          const nodes = await group.start(6);
          await Promise.all(nodes.map((node, at) => node.register(users(`n${at}-`, 50))));
        }
        while (outcomes.length < runs) {
          await pause(2 * LEASE);
          await anyMoment();
          server.freeze();
          await pause(3 * LEASE);
          server.thaw();
          await pause(3 * LEASE);
          for (const group of groups) {
            if (outcomes.length >= runs) break;
            const missing = 300 - (await group.online());
            outcomes.push({ ms: 0, wrong: group.offline().length + missing });
            tick();
          }
        }
      } finally {
        await Promise.all(groups.map((group) => group.stop()));
        await server.stop();
      }
      return outcomes;
    },
  },
  {
    name: 'wiped',
    fault: 'FLUSHALL, 3 processes, 3,000 users',
    measured: 'to all users online again',
    promise: '1.1 renewal periods, + the time to write',
    bound: RENEW * 1.1 + 500,
    usual: '11 s',
    test: `${CRASH}: Redis wiped under load`,
    run: (runs, tick) =>
      withThousands(runs, tick, async (server) => {
        const start = performance.now();
        await server.control.flushall();
        return start;
      }),
  },
  {
    name: 'restarted',
    fault: 'Redis restarted without data, 3 processes, 3,000 users',
    measured: 'from its first reply to all users online again',
    promise: '1.1 renewal periods (at least 1.1 s), + the time to write',
    bound: 1_100 + 500,
    usual: '11 s',
    test: `${CRASH}: Redis restarted without data`,
    run: (runs, tick) =>
      withThousands(runs, tick, async (server) => {
        await server.restart();
        return performance.now();
      }),
  },
  {
    name: 'promoted',
    fault: 'replica promoted without the last writes, 3 processes, 320 users',
    measured: 'from the switch until every record is right: lost users online again, removed users offline',
    promise: '1.1 renewal periods (at least 1.1 s), + the time to write',
    bound: 1_100 + 500,
    usual: '11 s',
    test: `${FAILOVER}: a replica promoted without the last writes`,
    run: promoted,
  },
  {
    name: 'refused',
    fault: 'writes refused for 3 leases (NOREPLICAS), 6 processes of 300 users, and one that only reads',
    measured: '`offline` events in it and in the 3 leases after',
    promise: 'none',
    usual: 'none',
    test: `${OWNERS}: writes refused for four leases`,
    run: (runs, tick) => refused(runs, tick, () => FaultServer.start()),
  },
  {
    name: 'refused-cluster',
    fault: 'the same on a Cluster of 3 masters, 64 partitions',
    measured: '`offline` events in it and in the 3 leases after',
    promise: 'none',
    usual: 'none',
    test: `${OWNERS}: writes refused for four leases, 16 partitions`,
    run: (runs, tick) => refused(runs, tick, () => FaultServer.startCluster()),
  },
  {
    name: 'kick',
    fault:
      'kick (`removeSocket` by another process) while the owner’s connections stall; then they are cut, and later Redis is wiped',
    measured: 'cut to the owner having learned of it; no kicked socket returns, not even after the wipe',
    promise: 'a reconnect, or a renewal and a tenth of it',
    bound: RENEW * 1.1 + 500,
    usual: '11 s',
    test: `${OWNERS}: a removal by another process whose notification was missed is final`,
    run: kick,
  },
  {
    name: 'evicted',
    fault: 'half of all keys evicted, and some written again, 3 processes, 300 users in a room',
    measured: 'to all users and members back',
    promise: 'half of `keyTtl`, + a renewal and a tenth of it, + the time to write',
    bound: KEY_TTL / 2 + RENEW * 1.1 + 500,
    usual: '31 min',
    test: `${OWNERS}: after an eviction each process restores its own entries`,
    run: evicted,
  },
  {
    name: 'clock',
    fault: 'Redis’s clock steps back by an hour (leases rewritten), and a process of 100 users is SIGKILLed',
    measured: 'kill to the last `offline`',
    promise: '2 leases + 2 s',
    bound: 2 * LEASE + 2_000,
    usual: '62 s',
    test: `${OWNERS}: a death is found although Redis’s clock stepped back by an hour`,
    run: (runs, tick) =>
      inParallel(
        runs,
        tick,
        CONCURRENT_RUNS,
        (server, lane) => survivors(server, `clock-${lane}`, 2),
        async (group, _, turn) => {
          const [victim] = await group.start(1);
          await victim?.register(users(`v${turn}-`, 100));
          await pause(SWEEP * 1.2);
          await anyMoment();
          const killed = performance.now();
          await victim?.kill();
          const leases = await group.server.control.zrange(`${group.base}:nodes`, 0, -1, 'WITHSCORES');
          for (let at = 0; at < leases.length; at += 2) {
            const score = Number(leases[at + 1]);
            if (score > 0)
              await group.server.control.zadd(
                `${group.base}:nodes`,
                'XX',
                score + 3_600_000,
                String(leases[at]),
              );
          }
          const gone = await group.last(`v${turn}-`, 'offline', 100);
          await onlyLeases(group, 2);
          return { ms: gone - killed, wrong: wrongOf(group, `v${turn}-`, 100) };
        },
      ),
  },
  {
    name: 'outage',
    fault: 'all 3 processes SIGKILLed, 300 users in a room; the next starts after `keyTtl`',
    measured: 'its start to nobody left in counts and rooms',
    promise: 'lease + 2 s',
    bound: LEASE + 2_000,
    usual: '32 s',
    test: `${OWNERS}: all processes die, and the next one starts after keyTtl`,
    run: (runs, tick) =>
      inParallel(
        runs,
        tick,
        CONCURRENT_RUNS,
        async (server, lane) => ({
          group: new FaultGroup(server, `outage-${lane}`, LEASE),
          setting: undefined,
        }),
        async (group, _, turn) => {
          const options = { keyTtl: KEY_TTL, lastSeenTtl: 60_000 };
          const nodes = await group.start(3, options);
          const room = `room-${turn}`;
          await Promise.all(
            nodes.map(async (node, at) => {
              const some = users(`v${turn}-${at}-`, 100);
              await node.register(some);
              await node.ask('join', { users: some, room });
            }),
          );
          await Promise.all(nodes.map((node) => node.kill()));
          await pause(KEY_TTL + 500);
          const start = performance.now();
          const [next] = await group.start(1, options);
          const left = async () => {
            const { online, rooms } = await must(next).ask('state', { rooms: [room] });
            return online + rooms[room];
          };
          await until(async () => (await left()) === 0, 'the dead to be gone', 30_000, 20);
          const ms = performance.now() - start;
          const wrong = (await group.server.control.scard(`${group.base}:online`)) + (await left());
          await next?.kill();
          await group.server.control.flushall();
          return { ms, wrong };
        },
      ),
  },
  {
    name: 'client',
    fault: 'the Redis client closed by its owner, before the presence service',
    measured: 'close to the report (`stage: renew`)',
    promise: 'at once',
    bound: 500,
    usual: 'at once',
    test: `${OWNERS}: a client that its owner closes before the service`,
    run: (runs, tick) =>
      inParallel(
        runs,
        tick,
        CONCURRENT_RUNS,
        (server, lane) => survivors(server, `client-${lane}`, 1),
        async (group, _, turn) => {
          const [node] = await group.start(1);
          await node?.register(users(`v${turn}-`, 10));
          await anyMoment();
          const start = performance.now();
          await node?.ask('endClient');
          await until(async () => (await must(node).ask('reported')).includes('renew'), 'the report');
          const ms = performance.now() - start;
          const { renewing } = await must(node).ask('stats');
          const count = (await must(node).ask('reported')).filter(
            (/** @type {string} */ one) => one === 'renew',
          ).length;
          await node?.kill();
          await group.last(`v${turn}-`, 'offline', 10);
          return { ms, wrong: (renewing ? 1 : 0) + count - 1 + wrongOf(group, `v${turn}-`, 10) };
        },
      ),
  },
];

/**
 * Every process and every user stays while Redis refuses writes.
 *
 * @param {number} runs
 * @param {() => void} tick
 * @param {() => Promise<FaultServer>} start
 */
async function refused(runs, tick, start) {
  const server = await start();
  const groups = Array.from(
    { length: Math.min(CONCURRENT_RUNS, runs) },
    (_, at) => new FaultGroup(server, `refused-${at}`, LEASE),
  );
  /** @type {Outcome[]} */
  const outcomes = [];
  try {
    for (const group of groups) {
      const nodes = await group.start(6);
      await group.start(1);
      await Promise.all(nodes.map((node, at) => node.register(users(`n${at}-`, 50))));
    }
    while (outcomes.length < runs) {
      await pause(2 * LEASE);
      await anyMoment();
      await server.configure('min-replicas-to-write', '1');
      await pause(3 * LEASE);
      await server.configure('min-replicas-to-write', '0');
      await pause(3 * LEASE);
      for (const group of groups) {
        if (outcomes.length >= runs) break;
        const { online } = await must(group.nodes[6]).ask('state', {});
        outcomes.push({ ms: 0, wrong: group.offline().length + 300 - online });
        tick();
      }
    }
  } finally {
    await Promise.all(groups.map((group) => group.stop()));
    await server.stop();
  }
  return outcomes;
}

/** @param {number} runs @param {() => void} tick */
async function kick(runs, tick) {
  const server = await FaultServer.start();
  const proxy = await new FaultProxy(server.port).start();
  const group = new FaultGroup(server, 'kick', LEASE, proxy.port);
  const direct = new FaultGroup(server, 'kick', LEASE);
  /** @type {Outcome[]} */
  const outcomes = [];
  try {
    const [owner] = await group.start(1, { timeout: 1_000 });
    const [admin] = await direct.start(1);
    await owner?.register(users('stays-', 20));
    for (let turn = 0; turn < runs; turn++) {
      const kicked = users(`v${turn}-`, 10);
      await owner?.register(kicked);
      await anyMoment();
      proxy.stall();
      await pause(Math.random() * 100);
      await admin?.ask('remove', { users: kicked });
      await pause(LEASE * (0.2 + Math.random()));
      const cut = performance.now();
      proxy.cut();
      const informed = async () => (await must(owner).ask('stats')).sockets === 20;
      await until(informed, 'the owner to learn of the kick', 30_000, 20);
      const ms = performance.now() - cut;
      await server.control.flushall();
      await until(async () => (await group.online()) >= 20, 'the others to be back');
      await pause(2 * LEASE);
      const back = (await group.online()) - 20;
      const { sockets } = await must(owner).ask('stats');
      outcomes.push({ ms, wrong: Math.abs(back) + Math.abs(sockets - 20) });
      tick();
    }
  } finally {
    await Promise.all([group.stop(), direct.stop()]);
    proxy.stop();
    await server.stop();
  }
  return outcomes;
}

/** @param {number} runs @param {() => void} tick */
async function evicted(runs, tick) {
  const server = await FaultServer.start();
  const group = new FaultGroup(server, 'evicted', LEASE);
  /** @type {Outcome[]} */
  const outcomes = [];
  try {
    const nodes = await group.start(3, { keyTtl: KEY_TTL });
    const join = (/** @type {number} */ at, /** @type {string[]} */ some) =>
      nodes[at]?.register(some).then(() => nodes[at]?.ask('join', { users: some, room: 'room' }));
    await Promise.all(nodes.map((_, at) => join(at, users(`n${at}-`, 100))));
    for (let turn = 0; turn < runs; turn++) {
      await pause(LEASE);
      await anyMoment();
      // A lost layout or lease shows a wipe, which has a row of its own.
      const evictable = (await server.control.keys('*')).filter((key) => !/:(layout|nodes)$/.test(key));
      const start = performance.now();
      await server.control.del(...evictable.filter(() => Math.random() < 0.5));
      // Others write some of these keys again: they are there, and lack what was lost.
      await Promise.all(nodes.map((_, at) => join(at, users(`n${at}-`, 3, Math.floor(Math.random() * 97)))));
      const complete = async () => {
        const { online, rooms } = await must(nodes[0]).ask('state', { rooms: ['room'] });
        if (online !== 300 || rooms['room'] !== 300) return false;
        const all = nodes.flatMap((_, at) => users(`n${at}-`, 100));
        return (await server.control.mget(all.map((user) => `${group.base}:user:${user}`))).every(Boolean);
      };
      await until(complete, 'everybody to be back', 30_000, 20);
      const ms = performance.now() - start;
      await pause(RENEW);
      outcomes.push({ ms, wrong: group.offline().length + ((await complete()) ? 0 : 1) });
      tick();
    }
  } finally {
    await group.stop();
    await server.stop();
  }
  return outcomes;
}

/**
 * 3 processes of 1,000 users each; `fault` makes Redis lose them.
 *
 * @param {number} runs
 * @param {() => void} tick
 * @param {(server: FaultServer) => Promise<number>} fault resolves with the moment from which the time is measured
 */
async function withThousands(runs, tick, fault) {
  const server = await FaultServer.start();
  const group = new FaultGroup(server, 'thousands', LEASE);
  /** @type {Outcome[]} */
  const outcomes = [];
  try {
    const nodes = await group.start(3);
    await Promise.all(nodes.map((node, at) => node.register(users(`n${at}-`, 1_000))));
    for (let turn = 0; turn < runs; turn++) {
      await pause(1.5 * LEASE);
      await anyMoment();
      const start = await fault(server);
      await until(async () => (await group.online()) === 3_000, '3,000 users to be back');
      const ms = performance.now() - start;
      await pause(LEASE);
      outcomes.push({ ms, wrong: group.offline().length + 3_000 - (await group.online()) });
      group.changes.length = 0;
      tick();
    }
  } finally {
    await group.stop();
    await server.stop();
  }
  return outcomes;
}

/**
 * Two servers alternate as master: the replica is disconnected, some writes reach the master only, and
 * then the replica becomes the master.
 *
 * @param {number} runs
 * @param {() => void} tick
 */
async function promoted(runs, tick) {
  let [master, replica] = await Promise.all([FaultServer.start(), FaultServer.start()]);
  const proxy = await new FaultProxy(master.port).start();
  const group = new FaultGroup(master, 'promoted', LEASE, proxy.port);
  const second = group.listen(replica);
  /** @type {Outcome[]} */
  const outcomes = [];
  try {
    const [a, b, c] = await group.start(3);
    /** @type {Map<string, string>} user → status */
    const expected = new Map();
    const set = async (
      /** @type {typeof a} */ node,
      /** @type {string[]} */ some,
      /** @type {string} */ status,
    ) => {
      await node?.register(some, status);
      for (const user of some) expected.set(user, status);
    };
    const drop = async (/** @type {typeof a} */ node, /** @type {string[]} */ some) => {
      await node?.ask('remove', { users: some });
      for (const user of some) expected.delete(user);
    };
    for (let turn = 0; turn < runs; turn++) {
      await set(a, users('a-', 100), 'online');
      await set(b, users('b-', 100), 'online');
      await set(c, users('c-', 100), 'online');
      await drop(c, users(`new${turn - 1}-`, 20));
      await replica.control.replicaof('127.0.0.1', master.port);
      const offset = async (/** @type {FaultServer} */ server, /** @type {string} */ field) =>
        Number(new RegExp(`${field}:(\\d+)`).exec(await server.control.info('replication'))?.[1] ?? -1);
      await until(
        async () => (await replica.control.info('replication')).includes('master_link_status:up'),
        'the replica',
      );
      await pause(1.2 * LEASE);
      await anyMoment();
      const written = await offset(master, 'master_repl_offset');
      await until(
        async () => (await offset(replica, 'slave_repl_offset')) >= written,
        'the replica to follow',
      );
      await replica.control.replicaof('NO', 'ONE');
      // These writes are lost.
      await drop(a, users('a-', 20));
      await set(b, users('b-', 20), 'busy');
      await set(c, users(`new${turn}-`, 20), 'online');
      group.changes.length = 0;
      const start = performance.now();
      proxy.switchTo(replica.port);
      const isRight = async () => {
        const all = [
          ...['a-', 'b-', 'c-'].flatMap((prefix) => users(prefix, 100)),
          ...users(`new${turn}-`, 20),
        ];
        const records = await replica.control.mget(all.map((user) => `${group.base}:user:${user}`));
        return all.every((user, at) => {
          const record = records[at];
          const status = typeof record === 'string' ? record.slice(1, record.indexOf('"')) : 'offline';
          return status === (expected.get(user) ?? 'offline');
        });
      };
      await until(isRight, 'every record to be right');
      const ms = performance.now() - start;
      await pause(LEASE);
      const stillRight = (await isRight()) && (await group.online(replica.control)) === expected.size;
      // Users whose removal was lost are removed again, which announces them offline.
      outcomes.push({ ms, wrong: wrongOf(group, 'a-', 20) + (stillRight ? 0 : 1) });
      [master, replica] = [replica, master];
      tick();
    }
  } finally {
    await group.stop();
    second.disconnect();
    proxy.stop();
    await Promise.all([master.stop(), replica.stop()]);
  }
  return outcomes;
}

const seconds = (/** @type {number} */ ms) =>
  ms < 100 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(2)} s`;

/** @param {number[]} numbers */
function median(numbers) {
  const sorted = [...numbers].sort((one, two) => one - two);
  const half = sorted.length / 2;
  return sorted.length % 2 === 1
    ? Number(sorted[Math.floor(half)])
    : (Number(sorted[half - 1]) + Number(sorted[half])) / 2;
}

/** @returns {Omit<Scenario, 'run'>[]} */
function rowsOf(/** @type {Scenario} */ scenario) {
  if (scenario.name !== 'frozen') return [scenario];
  const lease = { ...scenario, measured: 'SIGSTOP to the last `offline`', promise: 'lease + 2 s' };
  const renewal = {
    ...scenario,
    measured: 'SIGCONT to all users online again',
    promise: '1.1 renewal periods, + the time to write',
  };
  return [
    { ...lease, bound: LEASE + 2_000, usual: '32 s' },
    { ...renewal, bound: RENEW * 1.1 + 500, usual: '11 s' },
  ];
}

const { values, positionals } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    parallel: { type: 'string', default: '4' },
    docs: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const runs = Number(values.runs);
CONCURRENT_RUNS = Number(values.parallel);
const chosen = scenarios.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const limit = setTimeout(() => {
  console.error(`took longer than ${LIMIT_MS / 60_000} minutes`);
  process.exit(1);
}, LIMIT_MS);

/** @type {Map<string, Outcome[][]>} */
const results = new Map();
const started = performance.now();

async function runAll(/** @type {Scenario[]} */ track) {
  for (const scenario of track) {
    let done = 0;
    const began = performance.now();
    const found = await scenario.run(runs, () => {
      if (++done % 10 === 0) console.log(`${scenario.name}: ${done} of ${runs}`);
    });
    results.set(scenario.name, Array.isArray(found) ? [found] : Object.values(found));
    console.log(`${scenario.name}: done in ${seconds(performance.now() - began)}`);
  }
}

// Faults of a server run on servers of their own, beside the other faults.
const ofServers = new Set([
  'wiped',
  'restarted',
  'promoted',
  'refused',
  'refused-cluster',
  'kick',
  'evicted',
]);
const tracks = [
  chosen.filter(({ name }) => !ofServers.has(name)),
  chosen.filter(({ name }) => ofServers.has(name)),
];
if (CONCURRENT_RUNS > 1) await Promise.all(tracks.map(runAll));
else for (const track of tracks) await runAll(track);
clearTimeout(limit);

const table = [
  '| fault | measured | promise | median | worst | wrong | with the defaults |',
  '| --- | --- | --- | --: | --: | --: | --- |',
];
const tests = ['| fault | test in `test/faults/`, or `test/redis/` (presence-owners) |', '| --- | --- |'];
let broken = 0;
for (const scenario of chosen) {
  const found = results.get(scenario.name) ?? [];
  rowsOf(scenario).forEach((row, at) => {
    const outcomes = found[at] ?? [];
    const times = outcomes.map(({ ms }) => ms);
    const wrong = outcomes.reduce((sum, outcome) => sum + outcome.wrong, 0);
    const worst = Math.max(...times);
    if (wrong > 0 || (row.bound !== undefined && worst > row.bound)) broken++;
    const promise = row.bound === undefined ? row.promise : `${row.promise}: ${seconds(row.bound)}`;
    // A scenario without a duration is only counted.
    const timed = worst > 0 ? `${seconds(median(times))} | ${seconds(worst)}` : '– | –';
    table.push(`| ${row.fault} | ${row.measured} | ${promise} | ${timed} | ${wrong} | ${row.usual} |`);
  });
  tests.push(`| ${scenario.fault} | ${scenario.test} |`);
}
const versionOf = (/** @type {string} */ name) =>
  createRequire(import.meta.url)(`${name}/package.json`).version;
const probe = await FaultServer.start();
const info = await probe.control.info('server');
const valkey = /valkey_version:(\S+)/.exec(info)?.[1];
const redis = valkey === undefined ? `redis ${/redis_version:(\S+)/.exec(info)?.[1]}` : `valkey ${valkey}`;
await probe.stop();
const [cpu] = cpus();
const measured = `Measured ${new Date().toISOString().slice(0, 10)}: cpu ${cpus().length} × ${cpu?.model.replace(/ \d.*| Processor.*/, '')}, node ${process.versions.node}, ${redis}, ioredis ${versionOf('ioredis')}, rollcall ${versionOf('rollcall')}; ${runs} runs; lease ${LEASE / 1_000} s, renewed every ${seconds(RENEW)}, swept every ${seconds(SWEEP)}, grace 0.`;
console.log(`\n${measured}\n\n${table.join('\n')}\n\n${seconds(performance.now() - started)} in all`);
if (values.docs) {
  const file = new URL('../docs/faults.md', import.meta.url);
  const text = readFileSync(file, 'utf8');
  const section = (/** @type {string} */ name, /** @type {string} */ content) => [
    new RegExp(`(<!-- ${name} -->\\n)[^]*?(\\n<!-- /${name} -->)`),
    `$1\n${content}\n$2`,
  ];
  const [first, firstText] = section(
    valkey === undefined ? 'results' : 'results-valkey',
    `${measured}\n\n${table.join('\n')}`,
  );
  const [second, secondText] = section('tests', tests.join('\n'));
  writeFileSync(
    file,
    text
      .replace(/** @type {RegExp} */ (first), String(firstText))
      .replace(/** @type {RegExp} */ (second), String(secondText)),
  );
}
if (broken > 0) console.log(`${broken} rows break their promise`);
process.exitCode = broken > 0 ? 1 : 0;
