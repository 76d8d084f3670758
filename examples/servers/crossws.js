// @ts-check
import { createServer } from 'node:http';
import crossws from 'crossws/adapters/node';
import { serveCrossws } from 'rollcall/crossws';

/**
 * The same hooks serve `crossws/adapters/bun` and `crossws/adapters/deno`.
 *
 * @param {import('rollcall/crossws').ConnectionHandlerOptions<any>} options
 */
export function createApp(options) {
  const serving = serveCrossws(options);
  const { handleUpgrade } = crossws({ hooks: serving.hooks, serverOptions: { maxPayload: 65_536 } });
  const server = createServer((_request, response) => response.writeHead(404).end());
  server.on('upgrade', handleUpgrade);
  return { server, serving };
}
