import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';

/** In ms: what a connection sends without having received anything in between is forwarded together. */
const HOLD_MS = 60;

/** A TCP proxy on the loopback interface that counts round trips. */
export interface RoundTripProxy {
  readonly port: number;
  /** Connections accepted so far. */
  readonly connections: number;
  /**
   * How often something had to be forwarded: what depends on no reply is forwarded together. A client that is slow to
   * send it makes it more, never less.
   */
  readonly roundTrips: number;
  /** What clients sent so far. */
  readonly sent: string;
  stop(): Promise<void>;
}

/** Starts a proxy for a Redis on the same host. */
export async function startRoundTripProxy(target: number): Promise<RoundTripProxy> {
  let connections = 0;
  let roundTrips = 0;
  let sent = '';
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (near) => {
    connections++;
    let held: Buffer[] = [];
    const far = createConnection({ host: '127.0.0.1', port: target, noDelay: true });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (chunk) => {
      sent += chunk;
      if (held.push(chunk) > 1) return;
      setTimeout(() => {
        roundTrips++;
        far.write(Buffer.concat(held));
        held = [];
      }, HOLD_MS);
    });
    far.pipe(near);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    get roundTrips() {
      return roundTrips;
    },
    get sent() {
      return sent;
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
