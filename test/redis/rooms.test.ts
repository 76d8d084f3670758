import { serviceClients } from '../shared/redis-clients.js';
import { roomsBehaviour } from '../shared/rooms-behaviour.js';
import { startRedis } from '../support/redis-server.js';

for (const [name, make] of serviceClients) {
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
  roomsBehaviour(name, start, { embedded: false });
}
