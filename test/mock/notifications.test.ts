import { createEmbeddedRedis } from '../../src/testing/index.js';
import { notificationsBehaviour } from '../shared/notifications-behaviour.js';

notificationsBehaviour('notifications on the embedded Redis', async () => {
  const embedded = await createEmbeddedRedis();
  return {
    client: () => embedded.connect(),
    flush: () => embedded.flush(),
    end: () => embedded.close(),
  };
});
