import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';

/** Counters of a {@link RoughProxy}. */
export interface Roughness {
  /** Connections broken off. */
  cuts: number;
  /** Connections of which one direction ended. */
  halves: number;
  /** Connections that fell silent, and were cut a while later. */
  silences: number;
}

/** A TCP proxy on the loopback interface that treats every connection badly, by chance. */
export interface RoughProxy {
  readonly port: number;
  readonly done: Roughness;
  /** New connections lead to another port. */
  leadTo(port: number): void;
  /** Stops all faults. */
  calm(): void;
  stop(): Promise<void>;
}

/** Default durations of faults, in ms. */
export interface RoughOptions {
  /** Maximum lifetime of a connection. */
  life: number;
  /** Maximum delay of a chunk. Chunks keep their order. */
  delay: number;
  /** A silent connection is cut after at most so long. */
  silence: number;
  random?: () => number;
}

export async function startRoughProxy(
  target: number,
  { life, delay, silence, random = Math.random }: RoughOptions,
): Promise<RoughProxy> {
  const done: Roughness = { cuts: 0, halves: 0, silences: 0 };
  const open = new Set<Socket>();
  let port = target;
  let rough = true;

  const server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
    const far = createConnection({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
    let silent = false;
    const cut = () => {
      near.resetAndDestroy();
      far.resetAndDestroy();
    };
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from);
      from.on('error', () => {});
      from.on('close', () => {
        open.delete(from);
        to.destroy();
      });
      // Held up by chance, each chunk behind the one before.
      let before = Promise.resolve();
      const later = (task: () => void) => {
        const ms = rough ? random() * delay : 0;
        before = before
          .then(() => new Promise<void>((resolve) => setTimeout(resolve, ms)))
          .then(() => {
            if (!silent) task();
          });
      };
      from.on('data', (chunk) => later(() => to.write(chunk)));
      from.on('end', () => later(() => to.end()));
    }
    const badly = () => {
      if (!rough || near.destroyed) return;
      const what = random();
      if (what < 0.5) {
        done.cuts++;
        cut();
      } else if (what < 0.75) {
        done.halves++;
        (random() < 0.5 ? near : far).end();
        setTimeout(cut, silence * random()).unref();
      } else {
        done.silences++;
        silent = true;
        setTimeout(cut, silence * random()).unref();
      }
    };
    setTimeout(badly, life * random()).unref();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    done,
    leadTo: (other) => {
      port = other;
    },
    calm: () => {
      rough = false;
    },
    stop: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}
