import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';

/** A TCP proxy in front of a Redis on the loopback interface that can do ill to subscribed connections alone. */
export interface NumbProxy {
  readonly port: number;
  /** Connections that have sent SUBSCRIBE and are open now. */
  readonly subscribed: number;
  /** Drops all data of the current subscribed connections in both directions. The connections stay open. */
  numb(): void;
  /** Stops reading from Redis for the current subscribed connections, until `flow`. */
  stall(): void;
  flow(): void;
  /**
   * Drops each of the current connections, or those of one kind, once it was idle for `ms`, as a load balancer does: closes it, or drops all
   * its data from then on.
   */
  dropIdle(ms: number, how: 'close' | 'silence', kind?: 'subscribed' | 'other'): void;
  /** Open connections that `dropIdle` has not dropped yet. */
  readonly awaitingDrop: number;
  /** Connections that `dropIdle` has dropped. */
  readonly dropped: number;
  stop(): Promise<void>;
}

interface Wire {
  readonly near: Socket;
  readonly far: Socket;
  subscribed: boolean;
  numb: boolean;
  idle: { readonly how: 'close' | 'silence'; readonly timer: NodeJS.Timeout } | undefined;
}

/** The command, not an argument such as that of COMMAND INFO. */
const SUBSCRIBE = /\*\d+\r\n\$\d+\r\n[ps]?subscribe\r\n/i;

/** Starts one for the server on `port`. */
export async function startNumbProxy(port: number): Promise<NumbProxy> {
  const wires = new Set<Wire>();
  let dropped = 0;
  const drop = (wire: Wire) => {
    dropped++;
    if (wire.idle?.how === 'silence') wire.numb = true;
    else wire.near.destroy();
  };
  const server = createServer({ noDelay: true }, (near) => {
    const far = createConnection({ host: '127.0.0.1', port, noDelay: true });
    const wire: Wire = { near, far, subscribed: false, numb: false, idle: undefined };
    wires.add(wire);
    near.on('data', (chunk) => {
      wire.subscribed ||= SUBSCRIBE.test(chunk.toString('latin1'));
      if (!wire.numb) wire.idle?.timer.refresh();
      if (!wire.numb) far.write(chunk);
    });
    far.on('data', (chunk) => {
      if (!wire.numb) wire.idle?.timer.refresh();
      if (!wire.numb) near.write(chunk);
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      // The event "close" reports the end of the socket.
      one.on('error', () => {});
      one.on('close', () => {
        wires.delete(wire);
        clearTimeout(wire.idle?.timer);
        // Data received before the end is still delivered.
        if (one === far && !wire.numb) other.end();
        else other.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const subscribed = () => [...wires].filter((wire) => wire.subscribed);
  return {
    port: (server.address() as AddressInfo).port,
    get subscribed() {
      return subscribed().length;
    },
    numb: () => {
      for (const wire of subscribed()) wire.numb = true;
    },
    stall: () => {
      for (const { far } of subscribed()) far.pause();
    },
    flow: () => {
      for (const { far } of wires) far.resume();
    },
    dropIdle: (ms, how, kind) => {
      for (const wire of wires) {
        if (kind !== undefined && wire.subscribed !== (kind === 'subscribed')) continue;
        wire.idle = { how, timer: setTimeout(() => drop(wire), ms) };
      }
    },
    get awaitingDrop() {
      return [...wires].filter(({ idle, numb }) => idle !== undefined && !numb).length;
    },
    get dropped() {
      return dropped;
    },
    stop: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const { near, far } of wires) {
        near.destroy();
        far.destroy();
      }
      await closed;
    },
  };
}
