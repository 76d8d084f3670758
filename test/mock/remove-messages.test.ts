import { createEmbeddedRedis } from 'rollcall/testing';
import { removeMessagesBehaviour } from '../shared/remove-messages-behaviour.js';

removeMessagesBehaviour(
  'messages removed on the embedded Redis',
  async () => {
    const redis = await createEmbeddedRedis();
    return { client: () => redis.connect(), end: () => redis.close() };
  },
  { numRuns: 1 },
);
