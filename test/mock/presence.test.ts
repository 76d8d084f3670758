import { describe } from 'vitest';
import { createEmbeddedRedis } from '../../src/testing/index.js';
import { presenceBehaviour } from '../shared/presence-behaviour.js';

// The whole of it: what ioredis-mock lacks (scripts in transactions, wrong types, sharded channels)
// presence must not need.
describe('presence on the embedded Redis', () => {
  presenceBehaviour(async () => {
    const embedded = await createEmbeddedRedis();
    return {
      client: () => embedded.connect(),
      flush: () => embedded.flush(),
      end: () => embedded.close(),
    };
  });
});
