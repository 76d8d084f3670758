import { nodeRedis, startBackend, startClusterBackend } from '../shared/redis-clients.js';
import { removeMessagesBehaviour } from '../shared/remove-messages-behaviour.js';

removeMessagesBehaviour('messages removed on one Redis', () => startBackend(nodeRedis));
removeMessagesBehaviour('messages removed on a Cluster', startClusterBackend);
