import { PubSubService, RoomService } from 'rollcall';
import { createEmbeddedRedis } from 'rollcall/testing';
import { expect, test } from 'vitest';
import { TypingService } from '../../src/typing/typing-service.js';
import { waitFor } from '../support/wait.js';

test('typing on the embedded Redis is reported by other servers until it stops', async () => {
  const redis = await createEmbeddedRedis();
  const open = () => {
    const pubsub = new PubSubService({ redis: redis.connect() });
    return { pubsub, typing: new TypingService({ rooms: new RoomService({ pubsub }) }) };
  };
  const [one, two] = [open(), open()];
  const received: string[][] = [];
  const watch = await two.typing.watch('lobby', (typingUsers) => received.push(typingUsers));
  for (let strokes = 0; strokes < 20; strokes++) await one.typing.start('lobby', 'ann', { except: 's1' });
  await one.typing.start('lobby', '{😀}');
  await waitFor(() => watch.current().length === 2);
  await one.typing.stop('lobby', 'ann', { except: 's1' });
  await waitFor(() => watch.current().length === 1);
  expect(received).toEqual([['ann'], ['ann', '{😀}'], ['{😀}']]);
  await Promise.all([one.typing.close(), two.typing.close()]);
  expect(two.pubsub.stats().handlers).toBe(0);
  await Promise.all([one.pubsub.close(), two.pubsub.close()]);
  await redis.close();
});
