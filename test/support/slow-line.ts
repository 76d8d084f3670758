import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';

/** In ms: how often the line carries a part of what it may carry in a second. */
const TICK_MS = 20;
/** In bytes: what the proxy itself holds of a connection. */
const HELD_BYTES = 16_384;

/** A TCP proxy on the loopback interface whose clients receive at a limited rate. */
export interface SlowLine {
  readonly port: number;
  /** Connections accepted so far. */
  readonly connections: number;
  /** From now on clients receive nothing, and the connections stay open. */
  freeze(): void;
  stop(): Promise<void>;
}

/** Starts a proxy for a server on the same host. `rate`: in bytes per second and connection. */
export async function startSlowLine(target: number, rate: number): Promise<SlowLine> {
  let connections = 0;
  let frozen = false;
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true, highWaterMark: HELD_BYTES }, (near) => {
    connections++;
    const far = createConnection({ host: '127.0.0.1', port: target, noDelay: true });
    near.pipe(far);
    // Without a listener that reads, the rest waits in the sockets of the server.
    far.on('readable', () => {});
    const timer = setInterval(() => {
      if (frozen) return;
      const wanted = Math.min(Math.ceil((rate * TICK_MS) / 1_000), far.readableLength);
      const chunk: Buffer | null = wanted === 0 ? null : far.read(wanted);
      if (chunk !== null) near.write(chunk);
      if (far.readableEnded) near.end();
    }, TICK_MS);
    for (const socket of [near, far]) {
      sockets.add(socket);
      // The event "close" reports the end of the socket.
      socket.on('error', () => {});
    }
    far.on('close', () => sockets.delete(far));
    near.on('close', () => {
      sockets.delete(near);
      clearInterval(timer);
      far.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    freeze: () => {
      frozen = true;
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
