import { describe } from 'vitest';
import { createEmbeddedRedis } from '../../src/testing/index.js';
import { presencePeople } from '../shared/presence-people.js';

describe('presence of people on the embedded Redis', () => {
  presencePeople(
    async () => {
      const embedded = await createEmbeddedRedis();
      return {
        client: () => embedded.connect(),
        flush: () => embedded.flush(),
        end: () => embedded.close(),
      };
      // Its Lua runs in JavaScript, a thousand times slower; a crowd here is for the paging only.
    },
    { crowd: 300 },
  );
});
