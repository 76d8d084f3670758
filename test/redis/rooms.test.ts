import { serviceClients, startBackend } from '../shared/redis-clients.js';
import { roomsBehaviour } from '../shared/rooms-behaviour.js';

for (const [name, make] of serviceClients) {
  const start = () => startBackend(make);
  roomsBehaviour(name, start, { embedded: false });
}
