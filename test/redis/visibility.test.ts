import { nodeRedis, startBackend, startClusterBackend } from '../shared/redis-clients.js';
import { visibilityBehaviour } from '../shared/visibility-behaviour.js';

visibilityBehaviour('one Redis', () => startBackend(nodeRedis));
visibilityBehaviour('a Cluster', startClusterBackend);
