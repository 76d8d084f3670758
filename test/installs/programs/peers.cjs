// What the dependencies of the folder allow: loads every entry point and uses the installed peers. Prints one line for each.
// Argument: the port of a Redis.
const { once } = require('node:events');
const { createServer } = require('node:http');
const { createRequire } = require('node:module');
const { join } = require('node:path');

const here = createRequire(join(process.cwd(), 'index.cjs'));
const { dependencies } = here('./package.json');
const port = Number(process.argv[2]);
const has = (name) => name in dependencies;

/** Rejects if nothing arrives, so that a row fails instead of waiting. */
const inTime = (what, promise) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out: ${what}`)), 15_000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

function createClient(name) {
  if (name === 'ioredis') {
    const Redis = here('ioredis');
    const client = new Redis(port, '127.0.0.1');
    return { client, end: () => client.disconnect() };
  }
  const options = { socket: { host: '127.0.0.1', port }, host: '127.0.0.1', port };
  const client = here('redis').createClient(options);
  client.on('error', () => {});
  const close = client.destroy ?? client.disconnect ?? client.end;
  // redis 4 refuses to close a client that was not connected.
  return { client, end: () => client.isOpen !== false && close.call(client, true) };
}

const checks = {
  /** Each entry point, as CommonJS and as ES module. */
  async entries() {
    const manifest = here('rollcall/package.json');
    let count = 0;
    let refused = false;
    for (const entry of Object.keys(manifest.exports)) {
      if (/\.js(on)?$/.test(entry)) continue;
      const name = entry.replace('.', 'rollcall');
      if (name === 'rollcall/react' && !has('react')) continue;
      if (name === 'rollcall/msgpack' && !has('msgpackr')) continue;
      if (name === 'rollcall/glide' && !has('@valkey/valkey-glide')) continue;
      for (const load of [here, (path) => import(path)]) {
        try {
          await load(name);
        } catch (error) {
          if (name !== 'rollcall/react' || !/needs React 18/.test(error.message)) throw error;
          refused = true;
        }
      }
      if (!refused) count++;
      refused = false;
    }
    return `${count} entry points`;
  },
  redis: () => publish('redis'),
  ioredis: () => publish('ioredis'),
  async ws() {
    const library = here('ws');
    const { createRollcall } = here('rollcall');
    const { connect } = here('rollcall/client');
    const { serveWebSocket } = here('rollcall/ws');
    const { client, end } = createClient('redis');
    const rollcall = createRollcall({ redis: client, presence: { prefix: `w${process.pid}` } });
    const http = createServer().listen(0, '127.0.0.1');
    await once(http, 'listening');
    const server = new (library.WebSocketServer ?? library.Server)({ server: http });
    const limiter = has('rate-limiter-flexible')
      ? new (here('rate-limiter-flexible').RateLimiterMemory)({ points: 100, duration: 1 })
      : undefined;
    const options = {
      rooms: rollcall.rooms,
      authenticate: () => ({ userId: 'ada' }),
      authorize: () => true,
      rateLimit: limiter,
    };
    let handle;
    try {
      handle = serveWebSocket(server, options);
    } catch (error) {
      if (!/needs ws 8/.test(error.message)) throw error;
      return `refused: ${error.message}`;
    }
    const peer = connect({ url: `ws://127.0.0.1:${http.address().port}`, WebSocket: library });
    const room = peer.join('a');
    const received = new Promise((resolve) => room.on('hello', resolve));
    await inTime('join', room.ready);
    await inTime('send', room.send('hello', 'you'));
    await inTime('event', received);
    peer.close();
    await handle.close();
    http.close();
    await rollcall.close();
    end();
    return limiter === undefined ? 'an event through ws' : 'an event through ws, with a rate limiter';
  },
  async 'socket.io'() {
    const { Server } = here('socket.io');
    const { io: connect } = here('socket.io-client');
    const { createRollcall } = here('rollcall');
    const { trackPresence } = here('rollcall/socket.io');
    const { client, end } = createClient('redis');
    const { presence, pubsub, close } = createRollcall({
      redis: client,
      presence: { prefix: `s${process.pid}`, grace: 0 },
    });
    const http = createServer().listen(0, '127.0.0.1');
    await once(http, 'listening');
    const io = new Server(http);
    const tracker = trackPresence(io, { presence, pubsub, identify: () => 'ada' });
    const socket = connect(`http://127.0.0.1:${http.address().port}`);
    await inTime('connect', new Promise((resolve) => socket.on('connect', resolve)));
    await inTime(
      'online',
      pollUntil(async () => (await presence.getOnlineCount()) === 1),
    );
    socket.disconnect();
    await inTime(
      'offline',
      pollUntil(async () => (await presence.getOnlineCount()) === 0),
    );
    await tracker.close();
    io.close();
    await close();
    end();
    return 'presence of a socket';
  },
  async react() {
    const { createElement } = here('react');
    const { renderToString } = here('react-dom/server');
    let hooks;
    try {
      hooks = here('rollcall/react');
    } catch (error) {
      if (!/needs React 18/.test(error.message)) throw error;
      return `refused: ${error.message}`;
    }
    const Page = () => createElement('p', null, hooks.useConnection().state);
    const tree = createElement(hooks.RollcallProvider, { client: null }, createElement(Page));
    return `renders ${renderToString(tree)}`;
  },
  async 'graphql-subscriptions'() {
    const { withFilter } = here('graphql-subscriptions');
    const { PubSubService } = here('rollcall');
    const { GraphQLPubSub } = here('rollcall/graphql');
    const { client, end } = createClient('redis');
    const service = new PubSubService({ redis: client, prefix: `g${process.pid}` });
    const pubsub = new GraphQLPubSub({ pubsub: service });
    let iterator;
    const subscribe = withFilter(
      () => {
        iterator = pubsub.asyncIterableIterator('POSTED');
        return iterator;
      },
      ({ number }) => number > 1,
    );
    const filtered = await subscribe({}, {}, {}, {});
    const first = filtered.next();
    await inTime('SUBSCRIBE', iterator.ready);
    for (const number of [1, 2]) await pubsub.publish('POSTED', { number });
    const { value } = await inTime('payload', first);
    if (value.number !== 2) throw new Error(`received ${JSON.stringify(value)}`);
    await filtered.return();
    await service.close();
    end();
    return 'withFilter';
  },
};

async function pollUntil(check) {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function publish(library) {
  const { PubSubService } = here('rollcall');
  const { client, end } = createClient(library);
  try {
    const service = new PubSubService({ redis: client, prefix: `p${process.pid}` });
    const received = new Promise((resolve) => service.subscribe('a', resolve).catch(() => {}));
    await inTime(
      'SUBSCRIBE',
      service.subscribe('a', () => {}),
    );
    await inTime('PUBLISH', service.publish('a', { text: 'hi' }));
    await inTime('message', received);
    await service.close();
    return 'publish, subscribe';
  } catch (error) {
    // A client that is too old is refused with a text that names the versions that fit.
    if (error.name === 'InvalidArgumentError') return `refused: ${error.message.split(';')[0]}`;
    throw error;
  } finally {
    end();
  }
}

async function main() {
  for (const [name, check] of Object.entries(checks)) {
    if (name !== 'entries' && !has(name)) continue;
    console.log(`${name}: ${await check()}`);
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
