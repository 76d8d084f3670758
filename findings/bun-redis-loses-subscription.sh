#!/usr/bin/env bash
# Bun's built-in RedisClient reconnects after a killed connection, says that it is connected, and has lost its subscription.
#
# Versions: bun 1.4.5 (from npm), redis-server 7.0.15 or later on the PATH.
# A subscriber whose connection is killed (CLIENT KILL, a restart, a failover) comes back by itself: `connected` is true and
# `onconnect` is called again. It does not send SUBSCRIBE again, so no later message arrives and PUBLISH counts 0 receivers. No
# error is raised. ioredis and node-redis subscribe again; on Bun they do too.
#
# Output seen:
#   {"received":["before"],"receivers":0,"connected":true,"connects":2}
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$dir" >/dev/null & server=$!
trap 'kill $server; rm -rf "$dir"' EXIT
npm init -y >/dev/null
npm install --silent --no-audit --no-fund bun@1.4.5 >/dev/null 2>&1
cat >run.mjs <<'JS'
import { RedisClient } from 'bun';
const url = `redis://127.0.0.1:${process.argv[2]}`;
const subscriber = new RedisClient(url);
const publisher = new RedisClient(url);
const received = [];
let connects = 0;
let back;
const reconnected = new Promise((resolve) => { back = resolve; });
subscriber.onconnect = () => { if (++connects === 2) back(); };
await subscriber.connect();
let first;
const arrived = new Promise((resolve) => { first = resolve; });
await subscriber.subscribe('news', (message) => { received.push(message); first(); });
await publisher.publish('news', 'before');
await arrived;
await publisher.send('CLIENT', ['KILL', 'TYPE', 'pubsub']);
await reconnected;
// Time enough for a SUBSCRIBE, had it been sent.
await Bun.sleep(1_000);
const receivers = await publisher.publish('news', 'after');
await Bun.sleep(500);
console.log(JSON.stringify({ received, receivers, connected: subscriber.connected, connects }));
process.exit();
JS
got=$(node_modules/.bin/bun run.mjs "$port")
echo "$got"
[[ $got == '{"received":["before"],"receivers":0,"connected":true,"connects":2}' ]] || { echo 'the behaviour has changed' >&2; exit 1; }
