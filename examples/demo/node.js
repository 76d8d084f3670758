// @ts-check
import { once } from 'node:events';
import { createServer } from 'node:http';
import { PresenceService, PubSubService } from 'rollcall';
import { WebSocketServer } from 'ws';
import { Room } from './room.js';
import { MAX_MESSAGE_BYTES, presenceOptions, pubsubOptions } from './settings.js';

/**
 * One server node: it owns the WebSockets of the people who joined by it. It knows nothing of the
 * other nodes; Redis is all they share.
 *
 * @param {string} name
 * @param {import('rollcall').RedisClient} redis
 */
export async function startNode(name, redis) {
  const presence = new PresenceService({ redis, nodeName: name, ...presenceOptions });
  const pubsub = new PubSubService({ redis, ...pubsubOptions });
  const room = new Room(name, presence, pubsub);
  await room.open();

  const server = createServer((_request, response) => response.writeHead(426).end());
  const webSockets = new WebSocketServer({ server, maxPayload: MAX_MESSAGE_BYTES });
  webSockets.on('connection', (socket) => room.welcome(socket));
  // A spare port, for the front alone.
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());

  /** Ends the connections; what Redis knows of them is up to the services. */
  const drop = () => {
    room.drop();
    server.close();
    server.closeAllConnections();
  };
  return {
    port,
    /** Leaves in an orderly way: the services remove this node's sockets from Redis. */
    async stop() {
      await presence.close();
      await pubsub.close();
      drop();
    },
    /** What a crash leaves of a node in this process, once its link to Redis is cut: nothing. */
    crash() {
      drop();
      void presence.close();
      void pubsub.close();
    },
  };
}
