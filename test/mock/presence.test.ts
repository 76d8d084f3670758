import { describe } from 'vitest';
import { createEmbeddedRedis } from '../../src/testing/index.js';
import { presenceBehaviour } from '../shared/presence-behaviour.js';

// Runs the whole suite, because presence must not depend on features that ioredis-mock lacks
// (scripts in transactions, wrong types, sharded channels).
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
