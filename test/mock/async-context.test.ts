import { createEmbeddedRedis } from 'rollcall/testing';
import { asyncContextBehaviour } from '../shared/async-context-behaviour.js';

asyncContextBehaviour('async contexts on the embedded Redis', async () => {
  const embedded = await createEmbeddedRedis();
  return {
    client: () => embedded.connect(),
    flush: () => embedded.flush(),
    end: () => embedded.close(),
  };
});
