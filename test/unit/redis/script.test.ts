import { expect, test } from 'vitest';
import type { Command, PlainCommand, Reply } from '../../../src/redis/driver.js';
import { defineScript, ScriptRunner } from '../../../src/redis/script.js';

const one = defineScript('one', 'return 1');
const two = defineScript('two', 'return 2');
const call = (script: typeof one, ...args: string[]): Command => ({ script, keys: ['k'], args });

/** A server that knows scripts, as Redis does: EVAL teaches it, and its neighbours always run. */
function server() {
  const known = new Set<string>();
  const batches: PlainCommand[][] = [];
  const send = async (commands: readonly PlainCommand[]): Promise<Reply[]> => {
    batches.push([...commands]);
    return commands.map(([name, what = '']) => {
      if (name === 'EVALSHA' && !known.has(what)) return new Error('NOSCRIPT No matching script.');
      if (name === 'EVAL') known.add(defineScript('', what).sha);
      return 'OK';
    });
  };
  return { known, batches, send, names: () => batches.map((batch) => batch.map(([name]) => name)) };
}

test('the digest is the one Redis computes', () => {
  expect(one.sha).toBe('e0e1f9fabfc9d4800c877a703b823ac0578ff8db');
});

test('EVAL at first, EVALSHA from then on, keys and arguments as given', async () => {
  const { send, batches } = server();
  const runner = new ScriptRunner();
  await runner.run([['SET', 'a', '1'], call(one, 'x', 'y')], send);
  await runner.run([call(one, 'z')], send);
  expect(batches).toEqual([
    [
      ['SET', 'a', '1'],
      ['EVAL', 'return 1', '1', 'k', 'x', 'y'],
    ],
    [['EVALSHA', one.sha, '1', 'k', 'z']],
  ]);
});

test('NOSCRIPT sends the whole batch again, with the sources of all scripts', async () => {
  const { send, known, names } = server();
  const runner = new ScriptRunner();
  await runner.run([call(one), call(two)], send);
  known.clear();
  const replies = await runner.run([['SET', 'a', '1'], call(one), call(two)], send);
  expect(replies).toEqual(['OK', 'OK', 'OK']);
  expect(names().slice(1)).toEqual([
    ['SET', 'EVALSHA', 'EVALSHA'],
    ['SET', 'EVAL', 'EVAL'],
  ]);
  await runner.run([call(two)], send);
  expect(names().at(-1)).toEqual(['EVALSHA']);
});

test('one missing of two is enough', async () => {
  const { send, known, names } = server();
  const runner = new ScriptRunner();
  await runner.run([call(one), call(two)], send);
  known.delete(two.sha);
  await runner.run([call(one), call(two)], send);
  expect(names().slice(1)).toEqual([
    ['EVALSHA', 'EVALSHA'],
    ['EVAL', 'EVAL'],
  ]);
});

test('a server that never keeps scripts gets each batch twice at most', async () => {
  const runner = new ScriptRunner();
  let sent = 0;
  const replies = await runner.run([call(one)], async () => {
    sent++;
    return [new Error('NOSCRIPT No matching script.')];
  });
  expect(sent).toBe(2);
  expect(replies[0]).toBeInstanceOf(Error);
});

test('other refusals are the caller’s to see, and repeat nothing', async () => {
  const runner = new ScriptRunner();
  let sent = 0;
  const replies = await runner.run([call(one), ['SET', 'a', '1']], async () => {
    sent++;
    return [new Error('ERR user_script:1: NOSCRIPT'), 'OK'];
  });
  expect(sent).toBe(1);
  expect(replies[1]).toBe('OK');
});

test('a new connection may lead to another server', async () => {
  const { send, names } = server();
  const runner = new ScriptRunner();
  await runner.run([call(one)], send);
  runner.reset();
  await runner.run([call(one)], send);
  expect(names()).toEqual([['EVAL'], ['EVAL']]);
});

test('a batch without scripts goes through as it is', async () => {
  const { send, batches } = server();
  const commands: PlainCommand[] = [['PING'], ['GET', 'a']];
  await new ScriptRunner().run(commands, send);
  expect(batches).toEqual([commands]);
});

test('a send that fails is not taken for success', async () => {
  const { send, names } = server();
  const runner = new ScriptRunner();
  await expect(runner.run([call(one)], () => Promise.reject(new Error('cut')))).rejects.toThrow('cut');
  await runner.run([call(one)], send);
  expect(names()).toEqual([['EVAL']]);
});
