import { serviceClients, startBackend } from '../shared/redis-clients.js';
import { wsConnections } from '../shared/ws-connections-behaviour.js';
import { wsRequests } from '../shared/ws-requests-behaviour.js';

for (const [name, make] of serviceClients) {
  const start = () => startBackend(make);
  wsRequests(name, start);
  wsConnections(name, start);
}
