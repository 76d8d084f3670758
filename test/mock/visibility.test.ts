import { createEmbeddedRedis } from 'rollcall/testing';
import { visibilityBehaviour } from '../shared/visibility-behaviour.js';

visibilityBehaviour('the embedded Redis', async () => {
  const redis = await createEmbeddedRedis();
  return { client: () => redis.connect(), end: () => redis.close() };
});
