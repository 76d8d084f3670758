import assert from 'node:assert/strict';
import { CommandError, ConnectionError } from '../internal/errors.js';
import type { Capabilities, Driver, Payload, Reply, SubscriptionKind } from '../redis/driver.js';
import { defineScript } from '../redis/script.js';

/** A driver under test, and the faults that the suite can cause. */
export interface DriverUnderTest {
  /** An unused driver, on a Redis of its own or one shared with the suite. */
  readonly driver: Driver;
  /** Breaks all its connections from outside, so that the client must reconnect. */
  breakConnections?(): Promise<void>;
  /** Removes all scripts from the server. */
  forgetScripts?(): Promise<void>;
  /** Closes everything, including the client. */
  dispose(): Promise<void>;
}

/** One rule of the port, as a test for any runner. */
export interface DriverCase {
  /** The rule. */
  readonly name: string;
  /** The capability that the case needs. */
  readonly requires?: keyof Capabilities;
  /** Throws when the driver breaks the rule. */
  run(make: () => Promise<DriverUnderTest>): Promise<void>;
}

interface DriverHarness {
  readonly driver: Driver;
  readonly under: DriverUnderTest;
  readonly messages: string[];
  readonly states: string[];
  /** Names reported by `dropped`. */
  readonly dropped: string[];
  /** Rejects after {@link DEADLINE} ms. */
  until(what: string, done: () => boolean): Promise<void>;
  /** Runs one command. */
  command(name: string, ...args: Payload[]): Promise<Reply | undefined>;
}

const DEADLINE = 3_000;

let serial = 0;
/** A name that no other case uses. */
const uniqueName = (text: string): string => `suite:${process.pid}:${++serial}:${text}`;

const ODD_NAMES = [
  '__proto__',
  'constructor',
  'a{b}c',
  'a*b?[c]',
  'new\nline',
  'nul\0',
  'emoji 😀',
  'quote"',
  'back\\',
];

function defineCase(
  name: string,
  body: (harness: DriverHarness) => Promise<void>,
  requires?: keyof Capabilities,
): DriverCase {
  return {
    name,
    ...(requires === undefined ? {} : { requires }),
    async run(make) {
      const under = await make();
      try {
        await body(await openHarness(under));
      } finally {
        await under.driver.close();
        await under.dispose();
      }
    },
  };
}

async function openHarness(under: DriverUnderTest): Promise<DriverHarness> {
  const { driver } = under;
  const messages: string[] = [];
  const states: string[] = [];
  const dropped: string[] = [];
  const wakers = new Set<() => void>();
  const wake = () => {
    for (const waker of [...wakers]) waker();
  };
  driver.attach({
    message(kind: SubscriptionKind, name: string, channel: string, payload: Payload) {
      const text = typeof payload === 'string' ? payload : payload.toString('hex');
      messages.push(`${kind} ${name} ${channel} ${text}`);
      wake();
    },
    connection(state: 'ready' | 'lost' | 'ended') {
      states.push(state);
      wake();
    },
    dropped(kind: SubscriptionKind, names: readonly string[]) {
      for (const name of names) dropped.push(`${kind} ${name}`);
      wake();
    },
  });
  await driver.connect();
  const until = (what: string, done: () => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        wakers.delete(check);
        reject(
          new Error(
            `timed out waiting for ${what}; messages: ${messages.join(', ')}; states: ${states.join(', ')}`,
          ),
        );
      }, DEADLINE);
      const check = () => {
        if (!done()) return;
        clearTimeout(timer);
        wakers.delete(check);
        resolve();
      };
      wakers.add(check);
      check();
    });
  const command = async (name: string, ...args: Payload[]) => (await driver.execute([[name, ...args]]))[0];
  return { driver, under, messages, states, dropped, until, command };
}

const ECHO = defineScript('echo', 'return {KEYS[1], ARGV[1]}');
const COUNT = defineScript('count', "return redis.call('SADD', KEYS[1], ARGV[1])");
const TIME = defineScript('time', "return redis.call('TIME')");
const BROKEN = defineScript('broken', "return redis.call('INCR', KEYS[1], 'too', 'many')");

/** Every rule of the port. */
export const driverConformanceCases: readonly DriverCase[] = [
  defineCase(
    'connect resolves when commands can be sent, and can be called again',
    async ({ driver, command }) => {
      assert.equal(driver.ready, true);
      await driver.connect();
      assert.equal(await command('PING'), 'PONG');
    },
  ),

  defineCase('execute resolves with one reply per command, in order', async ({ driver }) => {
    const key = uniqueName('key');
    const replies = await driver.execute([
      ['SET', key, 'value'],
      ['GET', key],
      ['GET', uniqueName('nothing')],
      ['STRLEN', key],
      ['MGET', key, `{${key}}nothing`],
      ['SRANDMEMBER', uniqueName('nothing'), '10'],
    ]);
    assert.deepEqual(replies, ['OK', 'value', null, 5, ['value', null], []]);
  }),

  defineCase("scripts read the server's time, which does not go backwards", async ({ driver }) => {
    let before = 0;
    for (let look = 0; look < 20; look++) {
      const [reply] = await driver.execute([{ script: TIME, keys: [], args: [] }]);
      const [seconds, micros] = reply as readonly [string, string];
      const now = Number(seconds) * 1e6 + Number(micros);
      assert.ok(now >= before, `${now} after ${before}`);
      assert.ok(Math.abs(now / 1000 - Date.now()) < 60_000);
      before = now;
    }
  }),

  defineCase(
    'the reply of a refused command is an error, and the others run',
    async ({ driver }) => {
      const [key, other] = [uniqueName('text'), uniqueName('number')];
      const [, refused, fine] = await driver.execute([
        ['SET', key, 'text'],
        ['INCR', key],
        ['INCR', other],
      ]);
      assert.ok(refused instanceof Error, 'INCR of a text is refused');
      assert.equal(fine, 1);
    },
    'strict',
  ),

  defineCase('keys and values of any characters are unchanged', async ({ driver }) => {
    for (const name of ODD_NAMES) {
      const key = uniqueName(name);
      const replies = await driver.execute([
        ['SET', key, name],
        ['GET', key],
      ]);
      assert.equal(replies[1], name);
    }
  }),

  defineCase('an atomic batch resolves with one reply per command', async ({ driver }) => {
    const key = uniqueName('hash');
    const replies = await driver.execute(
      [
        ['HSET', key, 'a', '1'],
        ['HSET', key, 'a', '2'],
        ['HGET', key, 'a'],
      ],
      { atomic: true, key },
    );
    assert.deepEqual(replies, [1, 0, '2']);
  }),

  defineCase(
    'an atomic batch with an unknown command is discarded as a whole',
    async ({ driver, command }) => {
      const key = uniqueName('discarded');
      const batch = driver.execute([['SET', key, '1'], ['NOSUCHCOMMAND']], { atomic: true, key });
      await assert.rejects(batch, CommandError);
      assert.equal(await command('GET', key), null);
    },
    'scriptsInTransactions',
  ),

  defineCase('scripts receive their keys and arguments, alone and in an atomic batch', async ({ driver }) => {
    const key = uniqueName('script');
    const call = { script: ECHO, keys: [key], args: ['argument'] };
    assert.deepEqual(await driver.execute([call]), [[key, 'argument']]);
    assert.deepEqual(await driver.execute([call, ['SET', key, '1'], call], { atomic: true, key }), [
      [key, 'argument'],
      'OK',
      [key, 'argument'],
    ]);
  }),

  defineCase(
    'the reply of a failing script is an error',
    async ({ driver }) => {
      const key = uniqueName('broken');
      const replies = await driver.execute([['SET', key, '1'], { script: BROKEN, keys: [key], args: [] }], {
        atomic: true,
        key,
      });
      assert.equal(replies[0], 'OK');
      assert.ok(replies[1] instanceof Error);
    },
    'strict',
  ),

  defineCase(
    'scripts that the server has forgotten run, and the batch around them is complete',
    async ({ driver, under }) => {
      const key = uniqueName('forgotten');
      const batch = [
        ['SADD', key, 'plain'] as const,
        { script: COUNT, keys: [key], args: ['scripted'] },
        ['SCARD', key] as const,
      ];
      await driver.execute(batch, { atomic: true, key });
      await under.forgetScripts?.();
      const replies = await driver.execute(batch, { atomic: true, key });
      assert.equal(replies.at(-1), 2);
      assert.ok(!replies.some((reply) => reply instanceof Error));
    },
    'scriptsInTransactions',
  ),

  defineCase(
    'messages of a channel arrive after subscribe resolved, and not after unsubscribe',
    async (harness) => {
      const { driver, messages, until, command } = harness;
      const [channel, other] = [uniqueName('channel'), uniqueName('other')];
      await driver.subscribe('channel', [channel, other]);
      await command('PUBLISH', channel, 'first');
      await until('the message', () => messages.includes(`channel ${channel} ${channel} first`));
      await driver.unsubscribe('channel', [channel]);
      await command('PUBLISH', channel, 'second');
      await command('PUBLISH', other, 'last');
      await until('the last message', () => messages.length === 2);
      assert.deepEqual(messages.at(-1), `channel ${other} ${other} last`);
    },
  ),

  defineCase('channels of any name work', async ({ driver, messages, until, command }) => {
    const names = ODD_NAMES.flatMap((name) => [name, uniqueName(name)]);
    await driver.subscribe('channel', names);
    for (const name of names) await command('PUBLISH', name, 'here');
    await until('all messages', () => messages.length === names.length);
    // On a Cluster, messages of different channels may come by different connections, in any order.
    assert.deepEqual([...messages].sort(), names.map((name) => `channel ${name} ${name} here`).sort());
    await driver.unsubscribe('channel', names);
  }),

  defineCase(
    'a pattern and a channel of the same spelling are two subscriptions',
    async ({ driver, messages, until, command }) => {
      const name = uniqueName('both');
      await driver.subscribe('channel', [name]);
      await driver.subscribe('pattern', [name]);
      await command('PUBLISH', name, '1');
      await until('both messages', () => messages.length === 2);
      assert.deepEqual([...messages].sort(), [`channel ${name} ${name} 1`, `pattern ${name} ${name} 1`]);
      await driver.unsubscribe('channel', [name]);
      await command('PUBLISH', name, '2');
      await until('the message of the pattern', () => messages.length === 3);
      assert.equal(messages[2], `pattern ${name} ${name} 2`);
    },
    'patterns',
  ),

  defineCase(
    'a message names the pattern that it matched and the channel that it was published to',
    async ({ driver, messages, until, command }) => {
      const base = uniqueName('tree');
      await driver.subscribe('pattern', [`${base}:*`, `${base}:a?`]);
      await command('PUBLISH', `${base}:ab`, 'x');
      await until('both messages', () => messages.length === 2);
      assert.deepEqual([...messages].sort(), [
        `pattern ${base}:* ${base}:ab x`,
        `pattern ${base}:a? ${base}:ab x`,
      ]);
    },
    'patterns',
  ),

  defineCase('an unsubscribed name can be subscribed again', async ({ driver, messages, until, command }) => {
    const channel = uniqueName('again');
    for (let round = 1; round <= 3; round++) {
      await driver.subscribe('channel', [channel]);
      await command('PUBLISH', channel, String(round));
      await until('the message', () => messages.length === round);
      await driver.unsubscribe('channel', [channel]);
    }
  }),

  defineCase(
    'sharded channels are a kind of their own',
    async ({ driver, messages, until, command }) => {
      const name = uniqueName('sharded');
      await driver.subscribe('sharded', [name]);
      await driver.subscribe('channel', [name]);
      await command('SPUBLISH', name, 'sharded');
      await command('PUBLISH', name, 'plain');
      await until('both messages', () => messages.length === 2);
      assert.deepEqual([...messages].sort(), [
        `channel ${name} ${name} plain`,
        `sharded ${name} ${name} sharded`,
      ]);
      await driver.unsubscribe('sharded', [name]);
      await command('SPUBLISH', name, 'unheard');
      await command('PUBLISH', name, 'last');
      await until('the last message', () => messages.includes(`channel ${name} ${name} last`));
      assert.equal(messages.length, 3);
    },
    'sharded',
  ),

  defineCase(
    'payloads come as bytes where that was asked for',
    async ({ driver, messages, until, command }) => {
      const [text, bytes, later] = [uniqueName('text'), uniqueName('bytes'), uniqueName('later')];
      await driver.subscribe('channel', [text, later]);
      await driver.subscribe('channel', [bytes], { binary: true });
      for (const name of [text, bytes, later]) await command('PUBLISH', name, 'é');
      await until('the messages', () => messages.length === 3);
      // A name that is subscribed may change over; nothing comes twice, and nothing is lost.
      await driver.subscribe('channel', [later], { binary: true });
      await command('PUBLISH', later, Buffer.from([0x00, 0xff, 0xfe]));
      await command('PUBLISH', later, 'last');
      await until('the last message', () => messages.includes(`channel ${later} ${later} 6c617374`));
      const ofLater = messages.filter((message) => message.startsWith(`channel ${later} `));
      assert.deepEqual(ofLater, [
        `channel ${later} ${later} é`,
        `channel ${later} ${later} 00fffe`,
        `channel ${later} ${later} 6c617374`,
      ]);
      const ofOthers = messages.filter((message) => !ofLater.includes(message));
      assert.deepEqual(
        ofOthers.sort(),
        [`channel ${bytes} ${bytes} c3a9`, `channel ${text} ${text} é`].sort(),
      );
    },
  ),

  defineCase(
    'payloads of patterns arrive as bytes if the subscription asks for bytes',
    async ({ driver, messages, until, command }) => {
      const name = uniqueName('bytes');
      await driver.subscribe('pattern', [`${name}*`]);
      await driver.subscribe('pattern', [`${name}*`], { binary: true });
      await command('PUBLISH', name, Buffer.from([0xff]));
      await until('the message', () => messages.length === 1);
      assert.equal(messages[0], `pattern ${name}* ${name} ff`);
    },
    'patterns',
  ),

  defineCase('byte values are returned as bytes', async ({ driver }) => {
    const [key, other] = [uniqueName('bytes'), uniqueName('other')];
    const value = Buffer.from([0x00, 0xff, 0xfe, 0x0a]);
    await driver.execute([['SET', key, value]]);
    await driver.execute([['SET', other, value]], { atomic: true, key: other });
    const replies = await driver.execute(
      [
        ['GET', key],
        ['GET', other],
        ['STRLEN', key],
      ],
      { buffers: true },
    );
    assert.deepEqual(replies, [value, value, 4]);
  }),

  defineCase(
    'scripts keep bytes as they are',
    async ({ driver }) => {
      const [key, value] = [uniqueName('bytes'), Buffer.from([0x00, 0xff, 0xfe, 0x0a])];
      const call = { script: ECHO, keys: [key], args: [value] };
      for (const round of [1, 2]) {
        const [reply] = await driver.execute([call], { buffers: true });
        assert.deepEqual(reply, [Buffer.from(key), value], `round ${round}`);
      }
    },
    'binaryScripts',
  ),

  defineCase(
    'in a pipeline only the scripts that the server has forgotten run again',
    async ({ driver, under, command }) => {
      const key = uniqueName('once');
      const batch = [['INCR', key] as const, { script: COUNT, keys: [`{${key}}s`], args: ['x'] }];
      await driver.execute(batch);
      await under.forgetScripts?.();
      await driver.execute(batch);
      assert.equal(await command('GET', key), '2');
    },
  ),

  defineCase(
    'the names of a broken connection are reported as dropped, and can be subscribed again',
    async ({ driver, under, dropped, messages, until, command }) => {
      const [channel, pattern] = [uniqueName('lost'), uniqueName('lost*')];
      await driver.subscribe('channel', [channel, '__proto__']);
      await driver.subscribe('pattern', [pattern]);
      await under.breakConnections?.();
      await until('the loss', () => dropped.length === 3);
      const all = [`channel ${channel}`, 'channel __proto__', `pattern ${pattern}`];
      assert.deepEqual([...dropped].sort(), all.sort());
      // The client may not have noticed yet that the other connection broke.
      const answered = () => command('PING').catch(() => undefined);
      while ((await answered()) !== 'PONG') await until('the return', () => driver.ready);
      await driver.subscribe('channel', [channel]);
      // On a Cluster the connections to other nodes may break later, and with them a command under way.
      const publish = async (to: string, text: string): Promise<unknown> =>
        command('PUBLISH', to, text).catch(async () => {
          await until('the return', () => driver.ready);
          return publish(to, text);
        });
      await publish('__proto__', 'unheard');
      await publish(channel, 'heard');
      await until('the message', () => messages.length > 0);
      assert.equal(messages[0], `channel ${channel} ${channel} heard`);
    },
    'reconnects',
  ),

  defineCase(
    'an unsubscribe during a broken connection resolves, and the name is not reported as dropped',
    async ({ driver, under, dropped, until }) => {
      const [gone, kept] = [uniqueName('gone'), uniqueName('kept')];
      await driver.subscribe('channel', [gone, kept]);
      const unsubscribed = driver.unsubscribe('channel', [gone]);
      await under.breakConnections?.();
      await unsubscribed;
      await until('the loss', () => dropped.includes(`channel ${kept}`));
      assert.ok(!dropped.includes(`channel ${gone}`));
    },
    'reconnects',
  ),

  defineCase(
    'resetSubscriptions drops the connection at once',
    async ({ driver, dropped, messages, until, command }) => {
      const name = uniqueName('reset');
      await driver.subscribe('channel', [name]);
      driver.resetSubscriptions('channel', new Error('no answer'), name);
      assert.deepEqual(dropped, [`channel ${name}`]);
      await driver.subscribe('channel', [name]);
      await command('PUBLISH', name, 'heard');
      await until('the message', () => messages.length > 0);
      assert.deepEqual(messages, [`channel ${name} ${name} heard`]);
    },
  ),

  defineCase(
    'a call whose connection breaks is answered or rejected with an outcome',
    async ({ driver, under, states, until }) => {
      states.length = 0;
      const broken = under.breakConnections?.();
      const calls = Array.from({ length: 50 }, () =>
        driver.execute([['PING']]).then(
          () => 'answered',
          (error: unknown) => {
            assert.ok(error instanceof ConnectionError, `a ConnectionError, not ${String(error)}`);
            return error.outcome;
          },
        ),
      );
      await broken;
      for (const outcome of await Promise.all(calls)) assert.match(outcome, /answered|unknown|failed/);
      let reply: Reply | undefined;
      while (reply !== 'PONG') {
        // The client may not have noticed the break yet.
        await until('the return', () => driver.ready);
        [reply] = await driver.execute([['PING']]).catch(() => []);
      }
    },
    'reconnects',
  ),

  defineCase(
    'while the connection is not ready, nothing is sent, neither at once nor later',
    async ({ driver, under, until, command }) => {
      const key = uniqueName('unsent');
      const refused = new Set<string>();
      let attempts = 0;
      const attempt = async () => {
        const { ready } = driver;
        const member = String(++attempts);
        const outcome = await driver.execute([['SADD', key, member]]).then(
          () => 'done',
          (error: unknown) => {
            assert.ok(error instanceof ConnectionError, `a ConnectionError, not ${String(error)}`);
            return error.outcome;
          },
        );
        if (!ready) assert.equal(outcome, 'failed', 'a call while the driver is not ready');
        if (outcome === 'failed') refused.add(member);
      };
      let broken = false;
      const breaking = under.breakConnections?.().then(() => {
        broken = true;
      });
      // Until the connection is back. A driver that has another at once is never seen without one.
      const start = performance.now();
      for (let left = 1; left > 0 && !(broken && refused.size > 0 && driver.ready); ) {
        await attempt();
        await new Promise<void>((resolve) => setImmediate(resolve));
        left = start + DEADLINE / 3 - performance.now();
      }
      await breaking;
      let reply: Reply | undefined;
      while (reply !== 'PONG') {
        await until('the return', () => driver.ready);
        [reply] = await driver.execute([['PING']]).catch(() => []);
      }
      // A command held back anywhere would have been sent before this.
      const members = (await command('SMEMBERS', key)) as readonly string[];
      assert.deepEqual(
        members.filter((member) => refused.has(member)),
        [],
        'calls that ran although they were refused',
      );
    },
    'reconnects',
  ),

  defineCase('after close, subscribe rejects', async ({ driver }) => {
    await driver.subscribe('channel', [uniqueName('closed')]);
    await driver.close();
    await driver.close();
    await assert.rejects(driver.subscribe('channel', [uniqueName('late')]));
  }),
];
