#!/usr/bin/env bash
# Behind @fastify/http-proxy a client that reads nothing answers pings, and the server's bufferedAmount stays 0.
#
# Versions: @fastify/http-proxy 11.6.3, http-proxy-middleware 4.2.2, express 5.3.0, fastify 5.12.8, ws 8.23.0; Node 20.20.
# Most proxies join the two TCP connections, so that a client that stops reading stops the server's writes too. This one has a
# WebSocket on each side. It answers the server's pings itself, and it takes everything the server sends and keeps in its own memory
# what the client has not read, without a bound. Heartbeats of the server then find no frozen client, and limits on what the server
# has buffered for a slow client never apply.
#
# Output seen (10 MB to a client that does not read, 500 ms):
#   http-proxy-middleware: ping unanswered, the server has buffered more than 1 MB
#   @fastify/http-proxy: ping answered, the server has buffered 0 bytes
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @fastify/http-proxy@11.6.3 http-proxy-middleware@4.2.2 express@5.3.0 fastify@5.12.8 ws@8.23.0
cat >run.mjs <<'JS'
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import proxy from '@fastify/http-proxy';
import express from 'express';
import fastify from 'fastify';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { WebSocket, WebSocketServer } from 'ws';
const upstream = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
await once(upstream, 'listening');
const target = `http://127.0.0.1:${upstream.address().port}`;

async function viaFastify() {
  const app = fastify();
  app.register(proxy, { upstream: target, websocket: true });
  await app.listen({ port: 0, host: '127.0.0.1' });
  return app.server.address().port;
}

async function viaMiddleware() {
  const middleware = createProxyMiddleware({ target, ws: true });
  const server = express().use(middleware).listen(0, '127.0.0.1');
  server.on('upgrade', middleware.upgrade);
  await once(server, 'listening');
  return server.address().port;
}

async function run(name, port) {
  const accepted = once(upstream, 'connection');
  const client = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: false });
  await once(client, 'open');
  const [server] = await accepted;
  // From now on the client's process might as well be suspended.
  client._socket.removeAllListeners('data');
  client._socket.pause();
  let answered = false;
  server.on('pong', () => {
    answered = true;
  });
  server.ping();
  await sleep(500);
  for (let i = 0; i < 1_000; i++) server.send(Buffer.alloc(10_000));
  for (let i = 0; i < 100 && server.bufferedAmount > 0; i++) await sleep(50);
  const { bufferedAmount } = server;
  const buffered = bufferedAmount > 1e6 ? 'more than 1 MB' : `${bufferedAmount} bytes`;
  console.log(`${name}: ping ${answered ? 'answered' : 'unanswered'}, the server has buffered ${buffered}`);
}
await run('http-proxy-middleware', await viaMiddleware());
await run('@fastify/http-proxy', await viaFastify());
process.exit();
JS
got=$(timeout 40 node run.mjs)
echo "$got"
expected='http-proxy-middleware: ping unanswered, the server has buffered more than 1 MB
@fastify/http-proxy: ping answered, the server has buffered 0 bytes'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
