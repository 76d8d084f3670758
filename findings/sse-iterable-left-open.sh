#!/usr/bin/env bash
# fastify-sse-v2, Hono and h3 go on reading an async iterable after the client of the event stream has left.
#
# Versions: fastify-sse-v2 4.2.2 and @fastify/sse 0.6.0 with fastify 5.12.8, hono 4.13.19 with @hono/node-server 2.1.8, h3 2.0.8 with
# srvx 1.0.8; Node 20.20.
# Each server writes the values of an async iterable to an event stream, in the way that its documentation shows: an iterable that is
# handed over, or a loop that awaits each write. The client leaves, and the iterable goes on to have a value every 50 ms. `return()`
# is how a loop lets go of its source, for example of a subscription. @fastify/sse calls it when the next write fails, h3's
# `iterable()` at once, even while no value comes. With fastify-sse-v2, Hono's streamSSE and h3's createEventStream the writes go on to
# succeed and the source is read for ever: what ends it has to be the abort event of the stream or the close event of the request.
#
# Output seen (2 s after the client has left):
#   fastify-sse-v2: still reading
#   @fastify/sse: ended at the next value
#   hono streamSSE: still reading
#   h3 createEventStream: still reading
#   h3 iterable: ended at once
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund fastify-sse-v2@4.2.2 @fastify/sse@0.6.0 fastify@5.12.8 hono@4.13.19 \
  @hono/node-server@2.1.8 h3@2.0.8 srvx@1.0.8
cat >run.mjs <<'JS'
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
let read = 0;
let returned = false;
let open = false;
/** One value at once, the next ones when the client has left. */
const source = {
  [Symbol.asyncIterator]() { return this; },
  async next() {
    if (read++ > 0) {
      while (!open && !returned) await sleep(20);
      await sleep(50);
    }
    return returned ? { done: true, value: undefined } : { done: false, value: { data: `value ${read}` } };
  },
  async return(value) {
    returned = true;
    return { done: true, value };
  },
};
const listen = async (app) => {
  await app.listen({ port: 0, host: '127.0.0.1' });
  return app.server.address().port;
};
const serve = async (app) => {
  const { serve } = await import('srvx/node');
  const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1', silent: true });
  await server.ready();
  return new URL(server.url).port;
};
const servers = {
  'fastify-sse-v2': async () => {
    const app = (await import('fastify')).default();
    app.register((await import('fastify-sse-v2')).FastifySSEPlugin);
    app.get('/', (_request, reply) => { reply.sse(source); });
    return listen(app);
  },
  '@fastify/sse': async () => {
    const app = (await import('fastify')).default();
    await app.register((await import('@fastify/sse')).default);
    app.get('/', { sse: true }, (_request, reply) => reply.sse.send(source));
    return listen(app);
  },
  'hono streamSSE': async () => {
    const { Hono } = await import('hono');
    const { streamSSE } = await import('hono/streaming');
    const app = new Hono();
    app.get('/', (c) => streamSSE(c, async (stream) => {
      for await (const value of source) await stream.writeSSE(value);
    }));
    const server = (await import('@hono/node-server')).serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' });
    if (!server.listening) await once(server, 'listening');
    return server.address().port;
  },
  'h3 createEventStream': async () => {
    const { H3, createEventStream } = await import('h3');
    const app = new H3();
    app.get('/', (event) => {
      const stream = createEventStream(event);
      (async () => {
        for await (const value of source) await stream.push(value);
      })();
      return stream.send();
    });
    return serve(app);
  },
  'h3 iterable': async () => {
    const { H3, iterable } = await import('h3');
    const app = new H3();
    app.get('/', () => iterable(source, { serializer: ({ data }) => `data: ${data}\n\n` }));
    return serve(app);
  },
};
const name = process.argv[2];
const client = net.connect(await servers[name](), '127.0.0.1');
client.write('GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n');
let text = '';
await new Promise((resolve) => client.on('data', (chunk) => {
  text += chunk;
  if (text.includes('value 1')) resolve();
}));
client.destroy();
await sleep(500);
const atOnce = returned;
open = true;
await sleep(1_500);
console.log(`${name}: ${atOnce ? 'ended at once' : returned ? 'ended at the next value' : read > 10 ? 'still reading' : `${read} read`}`);
process.exit();
JS
got=$(for name in fastify-sse-v2 @fastify/sse 'hono streamSSE' 'h3 createEventStream' 'h3 iterable'; do
  timeout 20 node --no-warnings run.mjs "$name"; done)
echo "$got"
expected='fastify-sse-v2: still reading
@fastify/sse: ended at the next value
hono streamSSE: still reading
h3 createEventStream: still reading
h3 iterable: ended at once'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
