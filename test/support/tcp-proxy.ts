import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';

/** A TCP proxy on the loopback interface whose wires can be cut and led elsewhere. */
export interface FaultyProxy {
  readonly port: number;
  /** How many connections go through it now. */
  readonly open: number;
  /** Breaks all connections and refuses new ones until `restore`. */
  cut(): void;
  restore(): void;
  /** From now on connections lead to another port; those that are open break. */
  switchTo(port: number): void;
  /** From now on new connections lead to another port; those that are open stay. */
  leadTo(port: number): void;
  /** How many connections it has accepted so far. */
  readonly accepted: number;
  stop(): Promise<void>;
}

/** Starts a proxy for a server on the same host. */
export async function startFaultyProxy(target: number): Promise<FaultyProxy> {
  let port = target;
  let refusing = false;
  const wires = new Set<Socket>();

  let accepted = 0;
  const server = createServer({ noDelay: true }, (near) => {
    accepted++;
    if (refusing) {
      near.resetAndDestroy();
      return;
    }
    const far = createConnection({ host: '127.0.0.1', port, noDelay: true });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      wires.add(one);
      // The event "close" reports the end of the socket.
      one.on('error', () => {});
      one.on('close', () => {
        wires.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const breakAll = () => {
    for (const wire of wires) wire.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    get open() {
      return wires.size / 2;
    },
    cut: () => {
      refusing = true;
      breakAll();
    },
    restore: () => {
      refusing = false;
    },
    switchTo: (other) => {
      port = other;
      breakAll();
    },
    leadTo: (other) => {
      port = other;
    },
    get accepted() {
      return accepted;
    },
    stop: async () => {
      refusing = true;
      const closed = once(server, 'close');
      server.close();
      breakAll();
      await closed;
    },
  };
}
