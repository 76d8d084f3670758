import { presenceClients } from '../shared/presence-clients.js';
import { wsConnections } from '../shared/ws-connections.js';
import { wsRequests } from '../shared/ws-requests.js';
import { startRedis } from '../support/redis-server.js';

for (const [name, make] of Object.entries(presenceClients)) {
  const start = async () => {
    const server = await startRedis();
    const ends: (() => void)[] = [];
    return {
      client: () => {
        const { client, end } = make(server.port);
        ends.push(end);
        return client;
      },
      end: async () => {
        for (const end of ends) end();
        await server.stop();
      },
    };
  };
  wsRequests(name, start);
  wsConnections(name, start);
}
