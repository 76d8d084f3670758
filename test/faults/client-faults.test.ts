import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRollcall } from 'rollcall';
import { type Client, connect, type Room } from 'rollcall/client';
import { serveWebSocket } from 'rollcall/ws';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { ioredis, type Maker, nodeRedis } from '../shared/redis-clients.js';
import { startRoughProxy } from '../support/chaos-proxy.js';
import { timeLimit } from '../support/machine.js';
import { startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

// Clients and servers, and between them a network that breaks all the time. With history nothing may
// be lost, doubled or out of order.

/** For how long, in seconds; STORM_SECONDS=300 for a soak. */
const SECONDS = Number(process.env['STORM_SECONDS'] ?? 12);
const CLIENTS = 4;
const ROOM = 'storm';

let cleanUps: (() => unknown)[];
beforeEach(() => {
  cleanUps = [];
});
afterEach(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp();
});

async function serve(make: Maker, redisPort: number): Promise<number> {
  const { client, end } = make(redisPort);
  const { rooms, close } = createRollcall({
    redis: client,
    presence: { grace: 5_000 },
    rooms: { history: { size: 100_000, ttl: 600_000 } },
  });
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  const serving = serveWebSocket(sockets, {
    rooms,
    authenticate: ({ url = '' }) => new URL(url, 'http://x').searchParams.get('user'),
    authorize: () => true,
    heartbeatInterval: 300,
    pongTimeout: 300,
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUps.push(
    end,
    close,
    () => serving.close(),
    () => void server.close(),
  );
  return (server.address() as AddressInfo).port;
}

/** Somebody who sends numbers, and writes down all he gets. */
class Chatter {
  readonly got: { position: string; from: string | undefined; number: number }[] = [];
  readonly gaps: unknown[] = [];
  readonly errors: unknown[] = [];
  readonly acknowledged: string[] = [];
  readonly doubtful: string[] = [];
  reconnects = 0;
  readonly client: Client;
  readonly room: Room;
  #going = true;
  #done: Promise<unknown> | undefined;

  constructor(
    readonly name: string,
    url: () => string,
  ) {
    this.client = connect({ url, WebSocket, backoff: { first: 20, max: 200 }, timeout: 20_000 });
    cleanUps.push(() => this.client.close());
    this.client.on('reconnecting', () => {
      this.reconnects++;
    });
    this.room = this.client.join(ROOM, { last: 1_000 });
    this.room.on('*', (data, { position, from }) => {
      this.got.push({ position: position as string, from, number: data as number });
    });
    this.room.onDiscontinuity((gap) => this.gaps.push(gap));
    this.client.on('error', (error) => this.errors.push(error));
  }

  start(): void {
    this.#done = this.#send();
  }

  async stop(): Promise<void> {
    this.#going = false;
    await this.#done;
  }

  /** Several at once, as users and programs do. */
  async #send(): Promise<void> {
    const under = new Set<Promise<void>>();
    for (let number = 0; this.#going; number++) {
      const says = `${this.name} ${number}`;
      const one = this.room.send('number', number).then(
        () => void this.acknowledged.push(says),
        () => void this.doubtful.push(says),
      );
      under.add(one);
      one.finally(() => under.delete(one));
      if (under.size >= 20) await Promise.race(under);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await Promise.all(under);
  }
}

test.each([
  ['node-redis', nodeRedis],
  ['ioredis', ioredis],
] as const)(
  'through a network that cuts, delays, half-closes and falls silent: nothing lost, doubled or out of order (%s)',
  { timeout: timeLimit((SECONDS + 120) * 1_000) },
  async (_, make) => {
    const redis = await startRedis();
    cleanUps.push(() => redis.stop());
    const ports = [await serve(make, redis.port), await serve(make, redis.port)];
    const roughly = { life: 1_500, delay: 15, silence: 1_000 };
    const proxies = await Promise.all(ports.map((port) => startRoughProxy(port, roughly)));
    cleanUps.push(() => Promise.all(proxies.map((proxy) => proxy.stop())));
    let attempts = 0;
    const chatters = Array.from({ length: CLIENTS }, (_, at) => {
      const name = `user-${at}`;
      // Each attempt may end up at another server.
      return new Chatter(name, () => {
        const proxy = proxies[attempts++ % proxies.length];
        return `ws://127.0.0.1:${proxy?.port}/?user=${name}`;
      });
    });
    await Promise.all(chatters.map(({ room }) => room.ready));
    for (const chatter of chatters) chatter.start();
    const end = performance.now() + SECONDS * 1_000;
    await waitFor(() => performance.now() > end, { timeout: (SECONDS + 10) * 1_000, interval: 100 });
    for (const proxy of proxies) proxy.calm();
    await Promise.all(chatters.map((chatter) => chatter.stop()));

    // What was really said, by those who keep it.
    const { client, end: endClient } = make(redis.port);
    const { rooms, close } = createRollcall({
      redis: client,
      rooms: { history: { size: 100_000, ttl: 600_000 } },
    });
    cleanUps.push(endClient, close);
    const said: { position: string; says: string }[] = [];
    for (let since: string | undefined, more = true; more; ) {
      const page = await rooms.history(ROOM, { limit: 1_000, ...(since === undefined ? {} : { since }) });
      for (const { message, position } of page.messages) {
        said.push({ position, says: `${message.from} ${message.data}` });
      }
      ({ position: since, more } = page);
    }
    const acknowledged = chatters.flatMap((chatter) => chatter.acknowledged);
    const doubtful = new Set(chatters.flatMap((chatter) => chatter.doubtful));
    // Each was carried out once, and none that was not sent.
    expect(new Set(said.map(({ says }) => says)).size).toBe(said.length);
    const saidOnce = new Set(said.map(({ says }) => says));
    expect(acknowledged.filter((says) => !saidOnce.has(says))).toEqual([]);
    const known = new Set([...acknowledged, ...doubtful]);
    expect(said.filter(({ says }) => !known.has(says))).toEqual([]);
    for (const chatter of chatters) {
      const positions = () => chatter.got.map(({ position }) => position);
      const first = said.findIndex(({ position }) => position === positions()[0]);
      const all = said.slice(first).map(({ position }) => position);
      await waitFor(() => positions().length >= all.length, {
        timeout: 20_000,
        message: `${chatter.name} to catch up`,
      });
      expect(positions(), chatter.name).toEqual(all);
      expect(chatter.gaps.filter((gap) => !(gap as { recovered: boolean }).recovered)).toEqual([]);
    }
    // The network did its worst, and that was worked against.
    const worst = proxies.map(({ done }) => done);
    for (const what of ['cuts', 'halves', 'silences'] as const) {
      expect(
        worst.reduce((sum, done) => sum + done[what], 0),
        what,
      ).toBeGreaterThan(0);
    }
    const reconnects = chatters.reduce((sum, chatter) => sum + chatter.reconnects, 0);
    expect(reconnects).toBeGreaterThan(CLIENTS);
    expect(acknowledged.length).toBeGreaterThan(100);
    console.log(
      `  ${said.length} said, ${doubtful.size} in doubt, ${reconnects} reconnections, ${JSON.stringify(worst)}`,
    );
  },
);
