import { createEmbeddedRedis } from 'rollcall/testing';
import { identifyBehaviour } from '../shared/identify-behaviour.js';

identifyBehaviour('sockets that change their user on the embedded Redis', async () => {
  const redis = await createEmbeddedRedis();
  return { client: () => redis.connect(), end: () => redis.close() };
});
