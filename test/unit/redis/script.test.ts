import { expect, test } from 'vitest';
import type { Command, PlainCommand, Reply } from '../../../src/redis/driver.js';
import { defineScript, ScriptRunner } from '../../../src/redis/script.js';

const one = defineScript('one', 'return 1');
const two = defineScript('two', 'return 2');
const call = (script: typeof one, ...args: string[]): Command => ({ script, keys: ['k'], args });

/** A server that caches scripts like Redis: EVAL loads a script, and the other commands of a batch always run. */
function server() {
  const known = new Set<string>();
  const batches: PlainCommand[][] = [];
  const send = async (commands: readonly PlainCommand[]): Promise<Reply[]> => {
    batches.push([...commands]);
    return commands.map(([name, ...args]) => {
      const what = String(args[0]);
      if (name === 'EVALSHA' && !known.has(what)) return new Error('NOSCRIPT No matching script.');
      if (name === 'EVAL') known.add(defineScript('', what).sha);
      if (name === 'SCRIPT') known.add(defineScript('', String(args[1])).sha);
      return 'OK';
    });
  };
  return { known, batches, send, names: () => batches.map((batch) => batch.map(([name]) => name)) };
}

test('the digest is the SHA-1 that Redis computes', () => {
  expect(one.sha).toBe('e0e1f9fabfc9d4800c877a703b823ac0578ff8db');
});

test('the first call is EVAL, later ones EVALSHA, with keys and arguments unchanged', async () => {
  const { send, batches } = server();
  const runner = new ScriptRunner();
  await runner.run([['SET', 'a', '1'], call(one, 'x', 'y')], send, true);
  await runner.run([call(one, 'z')], send, true);
  expect(batches).toEqual([
    [
      ['SET', 'a', '1'],
      ['EVAL', 'return 1', '1', 'k', 'x', 'y'],
    ],
    [['EVALSHA', one.sha, '1', 'k', 'z']],
  ]);
});

test('after NOSCRIPT a transaction is sent again as a whole, with all script sources', async () => {
  const { send, known, names } = server();
  const runner = new ScriptRunner();
  await runner.run([call(one), call(two)], send, true);
  known.clear();
  const replies = await runner.run([['SET', 'a', '1'], call(one), call(two)], send, true);
  expect(replies).toEqual(['OK', 'OK', 'OK']);
  expect(names().slice(1)).toEqual([
    ['SET', 'EVALSHA', 'EVALSHA'],
    ['SET', 'EVAL', 'EVAL'],
  ]);
  await runner.run([call(two)], send, true);
  expect(names().at(-1)).toEqual(['EVALSHA']);
});

test('one missing script of two repeats the transaction', async () => {
  const { send, known, names } = server();
  const runner = new ScriptRunner();
  await runner.run([call(one), call(two)], send, true);
  known.delete(two.sha);
  await runner.run([call(one), call(two)], send, true);
  expect(names().slice(1)).toEqual([
    ['EVALSHA', 'EVALSHA'],
    ['EVAL', 'EVAL'],
  ]);
});

test('in a pipeline only the commands that were not run are sent again, and replies keep their order', async () => {
  const { send, known, batches } = server();
  const numbered: typeof send = async (commands) => {
    const replies = await send(commands);
    const round = batches.length;
    return replies.map((reply, at) => (reply instanceof Error ? reply : `${round}.${at}`));
  };
  const runner = new ScriptRunner();
  await runner.run([call(one), call(two)], numbered, false);
  known.delete(two.sha);
  const replies = await runner.run(
    [call(two, 'a'), ['INCR', 'n'], call(one, 'b'), call(two, 'c')],
    numbered,
    false,
  );
  expect(batches.slice(1)).toEqual([
    [
      ['EVALSHA', two.sha, '1', 'k', 'a'],
      ['INCR', 'n'],
      ['EVALSHA', one.sha, '1', 'k', 'b'],
      ['EVALSHA', two.sha, '1', 'k', 'c'],
    ],
    [
      ['SCRIPT', 'LOAD', 'return 2'],
      ['EVAL', 'return 2', '1', 'k', 'a'],
      ['EVAL', 'return 2', '1', 'k', 'c'],
    ],
  ]);
  expect(replies).toEqual(['3.1', '2.1', '2.2', '3.2']);
  await runner.run([call(one), call(two)], numbered, false);
  expect(batches.at(-1)!.map(([name]) => name)).toEqual(['EVALSHA', 'EVALSHA']);
});

test('in a pipeline a command with another error is not sent again', async () => {
  const runner = new ScriptRunner();
  const sent: unknown[] = [];
  const send = async (commands: readonly PlainCommand[]): Promise<Reply[]> => {
    sent.push(commands.map(([name]) => name));
    if (sent.length > 1) return ['sha', 'done'];
    return ['sha', new Error('WRONGTYPE Operation against a key'), new Error('NOSCRIPT No matching script.')];
  };
  const replies = await runner.run([['INCR', 'list'], call(one)], send, false);
  expect(sent).toEqual([
    ['SCRIPT', 'INCR', 'EVAL'],
    ['SCRIPT', 'EVAL'],
  ]);
  expect(replies[0]).toMatchObject({ message: 'WRONGTYPE Operation against a key' });
  expect(replies[1]).toBe('done');
});

test('when the second attempt of a pipeline fails, the call rejects', async () => {
  const { send, known, names } = server();
  const runner = new ScriptRunner();
  await runner.run([call(one)], send, false);
  known.clear();
  const cut: typeof send = async (commands) => {
    const replies = await send(commands);
    if (names().length > 2) throw new Error('cut');
    return replies;
  };
  await expect(runner.run([call(one)], cut, false)).rejects.toThrow('cut');
  await runner.run([call(one)], send, false);
  expect(names().at(-1)).toEqual(['SCRIPT', 'EVAL']);
});

test.each([true, false])(
  'a server that never keeps scripts receives each batch at most twice (%s)',
  async (atomic) => {
    const runner = new ScriptRunner();
    let sent = 0;
    const send = async () => {
      sent++;
      return [...(atomic ? [] : ['sha']), new Error('NOSCRIPT No matching script.')];
    };
    const replies = await runner.run([call(one)], send, atomic);
    expect(sent).toBe(2);
    expect(replies[0]).toBeInstanceOf(Error);
  },
);

test('in a pipeline scripts are loaded before their first EVAL, so that the server keeps them', async () => {
  const { send, names } = server();
  const runner = new ScriptRunner();
  expect(await runner.run([['GET', 'a'], call(one), call(two), call(one)], send, false)).toHaveLength(4);
  await runner.run([call(one), call(two)], send, false);
  expect(names()).toEqual([
    ['SCRIPT', 'SCRIPT', 'GET', 'EVAL', 'EVAL', 'EVAL'],
    ['EVALSHA', 'EVALSHA'],
  ]);
});

test('scripts are sent by EVAL alone if SCRIPT LOAD is refused', async () => {
  const { send, names } = server();
  const refusing: typeof send = async (commands) => {
    const replies = await send(commands);
    return commands.map(([name], at) => (name === 'SCRIPT' ? new Error('NOPERM') : (replies[at] as Reply)));
  };
  const runner = new ScriptRunner();
  expect(await runner.run([call(one)], refusing, false)).toEqual(['OK']);
  expect(await runner.run([call(two)], refusing, false)).toEqual(['OK']);
  expect(names()).toEqual([['SCRIPT', 'EVAL'], ['EVAL']]);
});

test('other errors are returned to the caller, and nothing is repeated', async () => {
  const runner = new ScriptRunner();
  let sent = 0;
  const replies = await runner.run(
    [call(one), ['SET', 'a', '1']],
    async () => {
      sent++;
      return [new Error('ERR user_script:1: NOSCRIPT'), 'OK'];
    },
    true,
  );
  expect(sent).toBe(1);
  expect(replies[1]).toBe('OK');
});

test('after a reset scripts are sent with their source again', async () => {
  const { send, names } = server();
  const runner = new ScriptRunner();
  await runner.run([call(one)], send, true);
  runner.reset();
  await runner.run([call(one)], send, true);
  expect(names()).toEqual([['EVAL'], ['EVAL']]);
});

test('a batch without scripts is sent unchanged', async () => {
  const { send, batches } = server();
  const commands: PlainCommand[] = [['PING'], ['GET', 'a']];
  await new ScriptRunner().run(commands, send, true);
  expect(batches).toEqual([commands]);
});

test('a script whose send failed is not treated as known', async () => {
  const { send, names } = server();
  const runner = new ScriptRunner();
  await expect(runner.run([call(one)], () => Promise.reject(new Error('cut')), true)).rejects.toThrow('cut');
  await runner.run([call(one)], send, true);
  expect(names()).toEqual([['EVAL']]);
});
