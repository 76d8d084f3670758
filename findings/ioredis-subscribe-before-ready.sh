#!/usr/bin/env bash
# A SUBSCRIBE that an ioredis 5 client sends when it emits `connect` is acknowledged and then lost: the client is `ready`, and the server
# has no subscriber. ioredis 6 keeps the subscription.
#
# Versions: ioredis 5.11.1 and 6.0.0 (npm), redis-server 7.0.15 or later on the PATH.
# After `connect` the client of version 5 asks for INFO, to know when the server has loaded its data. The server refuses INFO to a connection
# that has subscribed: the client emits the error "Connection in subscriber mode, only subscriber commands may be used", closes the
# connection, and comes back without the subscription, although `autoResubscribe` is on by default. The call itself
# resolved with 1. Subscribing on `ready`, or without waiting for an event, works; so does `enableReadyCheck: false`.
#
# Output seen, three times:
#   5.11.1 {"connect":{"reply":1,"status":"ready","receivers":0},"ready":{"reply":1,"status":"ready","receivers":1}}
#   6.0.0 {"connect":{"reply":1,"status":"ready","receivers":1},"ready":{"reply":1,"status":"ready","receivers":1}}
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
trap 'rm -rf "$dir"' EXIT
cat >run.mjs <<'JS'
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { Redis } from 'ioredis';

const host = '127.0.0.1';
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const probe = createServer().listen(0, host);
await once(probe, 'listening');
const { port } = probe.address();
probe.close();
const server = spawn('redis-server', ['--bind', host, '--port', String(port), '--save', ''], { stdio: 'ignore' });
process.on('exit', () => server.kill('SIGKILL'));

const publisher = new Redis(port, host, { retryStrategy: () => 50 });
publisher.on('error', () => {});
await new Promise((resolve) => publisher.on('ready', resolve));

const outcome = {};
for (const event of ['connect', 'ready']) {
  const client = new Redis(port, host, { lazyConnect: true });
  client.on('error', () => {});
  client.connect().catch(() => {});
  await once(client, event);
  const reply = await client.subscribe('news');
  // Long enough for the refused INFO and the new connection.
  await pause(1_500);
  outcome[event] = { reply, status: client.status, receivers: await publisher.publish('news', 'x') };
  client.disconnect();
}
console.log(JSON.stringify(outcome));
process.exit();
JS
for version in 5.11.1 6.0.0; do
  mkdir "v$version"
  (cd "v$version" && npm install --silent --no-audit --no-fund "ioredis@$version" >/dev/null 2>&1 && cp ../run.mjs . &&
    echo "$version $(node run.mjs)") | tee -a seen
done
diff - seen <<'SEEN'
5.11.1 {"connect":{"reply":1,"status":"ready","receivers":0},"ready":{"reply":1,"status":"ready","receivers":1}}
6.0.0 {"connect":{"reply":1,"status":"ready","receivers":1},"ready":{"reply":1,"status":"ready","receivers":1}}
SEEN
