import { expect, test } from 'vitest';
import { describeAddress, parseAddress } from '../../../src/cli/address.js';
import { UsageError } from '../../../src/cli/usage-error.js';

test('a URL of one server has defaults for port and database', () => {
  expect(parseAddress(['redis://redis.example'])).toEqual({
    topology: 'single',
    nodes: [{ host: 'redis.example', port: 6_379 }],
    tls: false,
    database: 0,
  });
});

test('user, password, TLS and database are read from the URL', () => {
  expect(parseAddress(['rediss://ann:p%40ss@[::1]:7000/3'])).toEqual({
    topology: 'single',
    nodes: [{ host: '::1', port: 7_000 }],
    tls: true,
    username: 'ann',
    password: 'p@ss',
    database: 3,
  });
  expect(parseAddress(['redis://:secret@a'])).toMatchObject({ password: 'secret' });
});

test('several hosts or URLs are nodes of a Cluster', () => {
  const nodes = [
    { host: 'a', port: 7_000 },
    { host: 'b', port: 7_001 },
  ];
  for (const urls of [
    ['redis://a:7000', 'redis://b:7001'],
    ['redis+cluster://a:7000,b:7001'],
    ['redis-cluster://a:7000,b:7001'],
  ]) {
    expect(parseAddress(urls)).toMatchObject({ topology: 'cluster', nodes });
  }
  expect(parseAddress(['redis://a'], { cluster: true }).topology).toBe('cluster');
});

test('sentinels have a master, by URL or option', () => {
  const expected = {
    topology: 'sentinel',
    nodes: [{ host: 'a', port: 26_379 }],
    masterName: 'main',
    database: 2,
  };
  expect(parseAddress(['redis+sentinel://a/main/2'])).toMatchObject(expected);
  expect(parseAddress(['redis://a/2'], { sentinel: 'main' })).toMatchObject(expected);
  expect(parseAddress(['redis+sentinel://a']).masterName).toBe('mymaster');
});

test.each([
  ['http://a', 'no URL of Redis'],
  ['redis://', 'no URL of Redis'],
  ['redis://a:99999', 'no host and port'],
  ['redis://a b', 'no host and port'],
  ['redis://a/one', 'the number of a database'],
  ['redis://a/1/2', 'the number of a database'],
  ['redis://%zz@a', 'no percent-encoding'],
])('%s is refused', (url, reason) => {
  expect(() => parseAddress([url])).toThrow(UsageError);
  expect(() => parseAddress([url])).toThrow(reason);
});

test('URLs that contradict each other are refused', () => {
  expect(() => parseAddress(['redis://a', 'rediss://b'])).toThrow('must agree');
  expect(() => parseAddress(['redis+sentinel://a'], { cluster: true })).toThrow('exclude each other');
});

test('neither an error nor a description shows the password', () => {
  expect(() => parseAddress(['redis://ann:secret@a/x'])).toThrow(/^(?!.*secret)/);
  expect(describeAddress(parseAddress(['rediss+sentinel://ann:secret@a,b:1/main/1']))).toBe(
    'rediss+sentinel://a:26379,b:1/main/1',
  );
});
