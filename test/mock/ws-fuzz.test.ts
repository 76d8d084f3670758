import { createEmbeddedRedis } from 'rollcall/testing';
import { afterEach, expect, test } from 'vitest';
import { anyFrame } from '../shared/frame-arbitraries.js';
import { WsFixture } from '../shared/ws-fixture.js';
import { fc } from '../support/property.js';

const failures: unknown[] = [];
const failed = (error: unknown) => void failures.push(error);
process.on('unhandledRejection', failed);
afterEach(() => void process.off('unhandledRejection', failed));

test('the server answers any frame or closes as the protocol defines, and continues to serve other clients', async () => {
  await using redis = await createEmbeddedRedis();
  const fixture = new WsFixture(() => ({ client: () => redis.connect(), end: async () => {} }));
  const node = await fixture.node({ serve: { requests: { echo: (_, data) => data } } });
  const own = Object.getOwnPropertyNames(Object.prototype);
  const bob = await fixture.client(node, 'bob');
  await bob.get({ type: 'join', room: 'den' });
  await fc.assert(
    fc.asyncProperty(fc.array(anyFrame, { minLength: 1, maxLength: 30 }), async (frames) => {
      const eve = await fixture.client(node, 'eve');
      await eve.get({ type: 'join', room: 'lobby' });
      for (const frame of frames) eve.write(frame);
      // Lone surrogates are sent as U+FFFD, so every text is valid UTF-8.
      eve.write({ type: 'ping', last: true });
      const ended = eve.closed.then(({ code }) => code);
      const pings = frames.filter((frame) => /^\{"type":"ping"/.test(frame)).length;
      await eve.until(() => eve.of('pong').length > 0 || eve.socket.readyState === 3, 'pong, or the end');
      if (eve.socket.readyState !== 3) {
        await eve.settled();
        expect(eve.of('pong').length).toBeLessThanOrEqual(pings + 2);
        eve.socket.terminate();
      } else expect(await ended).toBe(4400);
      for (const error of eve.of('error')) {
        expect(['INVALID', 'NOT_JOINED', 'UNKNOWN_METHOD', 'LIMIT', 'FORBIDDEN']).toContain(error.code);
      }
      expect(eve.of('error').filter(({ id }) => id === undefined).length).toBeLessThanOrEqual(frames.length);
      // Other clients are not affected.
      await bob.get({ type: 'send', room: 'den', event: 'said', data: 1 });
    }),
    { numRuns: 40 },
  );
  expect(node.errors).toEqual([]);
  expect(failures).toEqual([]);
  expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(own);
  await fixture.end();
});
