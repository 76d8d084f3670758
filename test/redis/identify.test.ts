import { identifyBehaviour } from '../shared/identify-behaviour.js';
import { serviceClients, startBackend, startClusterBackend } from '../shared/redis-clients.js';

for (const [name, make] of serviceClients) {
  identifyBehaviour(`sockets that change their user with ${name}`, () => startBackend(make));
}

// Most pairs of users are in two partitions.
identifyBehaviour('sockets that change their user on a Cluster', startClusterBackend);
