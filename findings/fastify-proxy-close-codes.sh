#!/usr/bin/env bash
# Behind @fastify/http-proxy a WebSocket that broke is closed with 4006 in good order, not with 1006.
#
# Versions: @fastify/http-proxy 11.6.3, fastify 5.12.8, ws 8.23.0; Node 20.20.
# A connection that breaks without a close frame has the code 1006, and one that is closed without a code 1005: nobody may send
# these. This proxy adds 3000 and sends the sum to the other side, in both directions. A server process that is killed looks to the
# client like an orderly close with a code of the application, although no application chose it. Clients that take 4000 to 4999 for
# final answers of their server do not reconnect after a crash. Codes that may be sent pass unchanged.
#
# Output seen:
#   the server breaks off: client 4006
#   the server closes without a code: client 4005
#   the server closes with 1012: client 1012
#   the client breaks off: server 4006
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @fastify/http-proxy@11.6.3 fastify@5.12.8 ws@8.23.0
cat >run.mjs <<'JS'
import { once } from 'node:events';
import proxy from '@fastify/http-proxy';
import fastify from 'fastify';
import { WebSocket, WebSocketServer } from 'ws';
const upstream = new WebSocketServer({ port: 0, host: '127.0.0.1' });
await once(upstream, 'listening');
const app = fastify();
app.register(proxy, { upstream: `http://127.0.0.1:${upstream.address().port}`, websocket: true });
await app.listen({ port: 0, host: '127.0.0.1' });
async function connect() {
  const accepted = once(upstream, 'connection');
  const client = new WebSocket(`ws://127.0.0.1:${app.server.address().port}/`);
  await once(client, 'open');
  return { client, server: (await accepted)[0] };
}
async function run(what, end, watched) {
  const pair = await connect();
  const closed = once(pair[watched], 'close');
  end(pair);
  console.log(`${what}: ${watched} ${(await closed)[0]}`);
}
await run('the server breaks off', ({ server }) => server.terminate(), 'client');
await run('the server closes without a code', ({ server }) => server.close(), 'client');
await run('the server closes with 1012', ({ server }) => server.close(1012), 'client');
await run('the client breaks off', ({ client }) => client.terminate(), 'server');
process.exit();
JS
got=$(timeout 40 node run.mjs)
echo "$got"
expected='the server breaks off: client 4006
the server closes without a code: client 4005
the server closes with 1012: client 1012
the client breaks off: server 4006'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
