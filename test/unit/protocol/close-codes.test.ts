import { expect, test } from 'vitest';
import { CloseCode, shouldReconnect } from '../../../src/protocol/close-codes.js';

test.each([
  ['no code', 1005],
  ['a broken connection', 1006],
  ['no code behind @fastify/http-proxy', 4005],
  ['a broken connection behind @fastify/http-proxy', 4006],
  ['a server going away', 1001],
  ['a restart', CloseCode.SERVICE_RESTART],
  ['a slow consumer', CloseCode.SLOW_CONSUMER],
])('a client reconnects after %s', (_what, code) => {
  expect(shouldReconnect(code)).toBe(true);
});

test.each([
  ['a normal closure', 1000],
  ['a violated policy', 1008],
  ['missing credentials', CloseCode.UNAUTHENTICATED],
  ['being disconnected by the server', CloseCode.DISCONNECTED],
])('a client does not reconnect after %s', (_what, code) => {
  expect(shouldReconnect(code)).toBe(false);
});
