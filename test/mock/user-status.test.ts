import { describe } from 'vitest';
import { createEmbeddedRedis } from '../../src/testing/index.js';
import { ownStatusBehaviour } from '../shared/own-status-behaviour.js';
import { userStatusBehaviour } from '../shared/user-status-behaviour.js';

describe('user status on the embedded Redis', () => {
  userStatusBehaviour(
    async () => {
      const embedded = await createEmbeddedRedis();
      return {
        client: () => embedded.connect(),
        flush: () => embedded.flush(),
        end: () => embedded.close(),
      };
      // Its Lua runs in JavaScript, a thousand times slower, so the users suffice for paging only.
    },
    { userCount: 300 },
  );
});

describe('own statuses on the embedded Redis', () => {
  ownStatusBehaviour(async () => {
    const embedded = await createEmbeddedRedis();
    return {
      client: () => embedded.connect(),
      flush: () => embedded.flush(),
      end: () => embedded.close(),
    };
  });
});
