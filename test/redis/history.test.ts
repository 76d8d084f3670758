import { type HistoryBackend, historyBehaviour } from '../shared/history-behaviour.js';
import { serviceClients } from '../shared/redis-clients.js';
import { startRedis } from '../support/redis-server.js';
import { RespConnection } from '../support/resp.js';

const COMMAND_MS = 5_000;

for (const [name, make] of serviceClients) {
  const start = async (): Promise<HistoryBackend> => {
    const server = await startRedis();
    const ends: (() => void)[] = [];
    return {
      client: () => {
        const { client, end } = make(server.port);
        ends.push(end);
        return client;
      },
      listen: async (channel, got) => {
        const connection = await RespConnection.open(server.port, COMMAND_MS, (reply) => {
          const [kind, from, payload] = reply as string[];
          if (kind === 'message' && from === channel) got(payload as string);
        });
        ends.push(() => connection.close());
        await connection.send(['SUBSCRIBE', channel], COMMAND_MS);
      },
      run: (...args) => server.cli(...args),
      end: async () => {
        for (const end of ends) end();
        await server.stop();
      },
    };
  };
  historyBehaviour(name, start, { embedded: false });
}
