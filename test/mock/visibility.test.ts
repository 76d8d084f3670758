import { createChaosDriver, createEmbeddedRedis } from 'rollcall/testing';
import { expect, test } from 'vitest';
import { TestPeer } from '../shared/rooms-fixture.js';
import { visibilityBehaviour } from '../shared/visibility-behaviour.js';
import { WsFixture } from '../shared/ws-fixture.js';
import { waitFor } from '../support/wait.js';

visibilityBehaviour('the embedded Redis', async () => {
  const redis = await createEmbeddedRedis();
  return { client: () => redis.connect(), end: () => redis.close() };
});

// That what is refused then ends: test/redis/rooms-frozen.test.ts.
test('after lost messages a connection whose permissions are unknown is closed, and a socket of the application goes on', async () => {
  const redis = await createEmbeddedRedis();
  const chaos = createChaosDriver(redis.connect());
  const fixture = new WsFixture(() => ({ client: () => chaos, end: async () => {} }));
  let broken = false;
  const authorize = () => (broken ? Promise.reject(new Error('no database')) : true);
  const node = await fixture.node({ rooms: { history: false }, serve: { authorize } });
  const [ann, ben] = [await fixture.client(node, 'ann'), await fixture.client(node, 'ben')];
  const peer = new TestPeer();
  const own = await node.rooms.attach(peer, { userId: 'cem' });
  await own.watch(['bob']);
  await ann.get({ type: 'watch', users: ['bob'] });
  broken = true;
  await chaos.cut();
  chaos.restore();
  expect(await ann.closed).toEqual({ code: 4500, reason: 'permissions are unknown' });
  expect(node.errors).toContainEqual('HandlerError: authorize failed: no database');
  // Nothing is shown there that could end.
  await waitFor(() => ben.of('discontinuity').length > 0 && peer.of('discontinuity').length > 0);
  await ben.settled();
  expect([peer.of('discontinuity')[0]?.room, own.attached, own.watching]).toEqual([undefined, true, 1]);
  await fixture.end();
  await redis.close();
});
