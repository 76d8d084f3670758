import { createEmbeddedRedis } from 'rollcall/testing';
import { roomGraceBehaviour } from '../shared/room-grace-behaviour.js';

roomGraceBehaviour('grace in rooms on the embedded Redis', async () => {
  const redis = await createEmbeddedRedis();
  return { client: () => redis.connect(), end: () => redis.close() };
});
