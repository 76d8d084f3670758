import { describe } from 'vitest';
import { createEmbeddedRedis } from '../../src/testing/index.js';
import { presenceBehaviour } from '../shared/presence-behaviour.js';
import { ttlSocketsBehaviour } from '../shared/ttl-sockets-behaviour.js';

// Runs the whole suite, because presence must not depend on features that ioredis-mock lacks
// (scripts in transactions, wrong types, sharded channels).
const open = async () => {
  const embedded = await createEmbeddedRedis();
  return {
    client: () => embedded.connect(),
    flush: () => embedded.flush(),
    end: () => embedded.close(),
  };
};

describe('presence on the embedded Redis', () => {
  presenceBehaviour(open);
});

describe('sockets without a process on the embedded Redis', () => {
  ttlSocketsBehaviour(open);
});
