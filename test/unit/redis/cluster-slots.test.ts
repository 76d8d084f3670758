import { describe, expect, test } from 'vitest';
import {
  isRetryableError,
  joinAddress,
  parseMovedAddress,
  SLOTS,
  SlotMap,
  slotOf,
  slotOfCommand,
  splitAddress,
} from '../../../src/redis/cluster-slots.js';
import type { Command, Reply } from '../../../src/redis/driver.js';
import { defineScript } from '../../../src/redis/script.js';

describe('the slot of a key', () => {
  // The replies of CLUSTER KEYSLOT of Redis 7.
  test.each([
    ['', 0],
    ['123456789', 12739],
    ['foo', 12182],
    ['{foo}', 12182],
    ['a{foo}b', 12182],
    ['a{foo}{bar}', 12182],
    ['foo{bar', 15278],
    ['foo}bar{', 11073],
    ['{{foo}}', 13308],
  ])('%j', (key, slot) => {
    expect(slotOf(key)).toBe(slot);
    expect(slotOf(Buffer.from(key))).toBe(slot);
  });

  test('an empty tag is ignored, and only the first pair of braces counts', () => {
    expect(slotOf('a{}b')).not.toBe(slotOf(''));
    expect(slotOf('{}{foo}')).not.toBe(slotOf('foo'));
    expect(slotOf('{{foo}}')).toBe(slotOf('{foo'));
  });

  test('the slot of a Buffer is the slot of its bytes', () => {
    expect(slotOf('{ünï}')).toBe(slotOf(Buffer.from('ünï')));
    expect(slotOf(Buffer.from([0xff, 0x7b, 0xfe, 0x7d]))).toBe(slotOf(Buffer.from([0xfe])));
  });
});

describe('the slot of a command', () => {
  const script = defineScript('x', 'return 1');
  test.each<[string, Command, string | undefined]>([
    ['a key comes first', ['GET', 'foo'], 'foo'],
    ['in lower case', ['set', 'foo', 'x'], 'foo'],
    ['a sharded channel has a slot', ['SPUBLISH', 'foo', 'x'], 'foo'],
    ['a classic one has none', ['PUBLISH', 'foo', 'x'], undefined],
    ['nor has what concerns no key', ['PING'], undefined],
    ['however it is written', ['config', 'GET', 'maxmemory'], undefined],
    ['a script', { script, keys: ['foo', 'bar'], args: [] }, 'foo'],
    ['a script without keys', { script, keys: [], args: ['foo'] }, undefined],
    ['EVAL', ['EVAL', 'return 1', '1', 'foo', 'x'], 'foo'],
    ['EVALSHA without keys', ['EVALSHA', 'abc', '0', 'foo'], undefined],
  ])('%s', (_, command, key) => {
    expect(slotOfCommand(command)).toBe(key === undefined ? undefined : slotOf(key));
  });
});

describe('the map of slots', () => {
  const rows: Reply = [
    [0, 99, ['10.0.0.1', 7000, 'id', []], ['10.0.0.2', 7001, 'id', []]],
    [100, 100, ['10.0.0.3', 7000]],
    [200, SLOTS - 1, ['10.0.0.1', 7000]],
  ];

  test('the slot map has the owner of each slot, and all nodes', () => {
    const map = SlotMap.from(rows, 'seed:1');
    expect([0, 99, 100, 150, 200, SLOTS - 1].map((slot) => map?.owner(slot))).toEqual([
      '10.0.0.1:7000',
      '10.0.0.1:7000',
      '10.0.0.3:7000',
      undefined,
      '10.0.0.1:7000',
      '10.0.0.1:7000',
    ]);
    expect(map?.masters).toEqual(['10.0.0.1:7000', '10.0.0.3:7000']);
    expect(map?.nodes).toEqual(['10.0.0.1:7000', '10.0.0.3:7000', '10.0.0.2:7001']);
  });

  test('a node without a host is the node that replied', () => {
    expect(SlotMap.from([[0, 1, [null, 7000]]], 'seed:1')?.owner(0)).toBe('seed:7000');
    expect(SlotMap.from([[0, 1, ['', 7000]]], '::1:1')?.owner(0)).toBe('::1:7000');
    expect(
      SlotMap.from(
        [
          [0, 1, ['?', 7000]],
          [2, 2, ['a', 1]],
        ],
        'seed:1',
      )?.owner(0),
    ).toBeUndefined();
  });

  test.each([[[]], [null], ['OK'], [[['x']]], [[[0, 1, []]].slice(1)], [new Error('ERR')]] as [Reply][])(
    'a reply that is not a slot map is rejected (%#)',
    (reply) => {
      expect(SlotMap.from(reply, 'seed:1')).toBeUndefined();
    },
  );

  test('a slot map equals another with the same content', () => {
    const map = SlotMap.from(rows, 'seed:1') as SlotMap;
    expect(map.equals(SlotMap.from(rows, 'other:2') as SlotMap)).toBe(true);
    const moved = [[0, 98, ['10.0.0.1', 7000], ['10.0.0.2', 7001]], ...(rows as Reply[]).slice(1)];
    expect(map.equals(SlotMap.from(moved, 'seed:1') as SlotMap)).toBe(false);
    const without = [[0, 99, ['10.0.0.1', 7000]], ...(rows as Reply[]).slice(1)];
    expect(map.equals(SlotMap.from(without, 'seed:1') as SlotMap)).toBe(false);
  });
});

test('an IPv6 address is parsed', () => {
  expect(splitAddress(joinAddress('fe80::1', 6379))).toEqual({ host: 'fe80::1', port: 6379 });
});

describe('a retryable error', () => {
  test.each([
    'MOVED 1 a:1',
    'ASK 1 a:1',
    'TRYAGAIN x',
    'CLUSTERDOWN x',
    'LOADING x',
    'MASTERDOWN x',
    'READONLY x',
  ])('%s means that no command ran', (message) => expect(isRetryableError(new Error(message))).toBe(true));
  test.each(['ERR MOVED', 'MOVEDX', 'NOPERM x', 'connect ECONNREFUSED'])(
    '%s does not mean that no command ran',
    (message) => expect(isRetryableError(new Error(message))).toBe(false),
  );

  test('parses the address in MOVED', () => {
    expect(parseMovedAddress(new Error('MOVED 3999 10.0.0.1:7000'), 'a:1')).toBe('10.0.0.1:7000');
    expect(parseMovedAddress(new Error('MOVED 3999 :7000'), 'a:1')).toBe('a:7000');
    expect(parseMovedAddress(new Error('ASK 3999 10.0.0.1:7000'), 'a:1')).toBeUndefined();
  });
});
