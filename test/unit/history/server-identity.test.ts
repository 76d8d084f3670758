import { expect, test } from 'vitest';
import { isSameServer } from '../../../src/history/server-identity.js';

const none = '0'.repeat(40);

test.each([
  ['the same server', 'a:1:0', 'a:1:0', true],
  ['a server that does not permit INFO', '', '', true],
  ['another server', 'a:1:0', 'b:2:1', false],
  ['a restarted server', 'a:1:0', 'b:3:0', false],
  ['a server that was demoted and promoted again', 'a:1:0', 'a:3:2', false],
  ['a master that has been without replicas for an hour', 'a:1:0', `a:4:${none}`, true],
  ['the same, after an earlier failover', 'a:3:2', `a:4:${none}`, true],
])('%s', (_, before, now, same) => {
  expect(isSameServer(before, now)).toBe(same);
});
