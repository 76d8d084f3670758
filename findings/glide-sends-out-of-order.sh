#!/usr/bin/env bash
# @valkey/valkey-glide does not send commands in the order of the calls, unless each is awaited.
#
# Versions: @valkey/valkey-glide 2.5.2, ioredis 5.11.1, redis 6.3.1; redis-server 7.0.15 or later on the PATH; Node 20.20.
# Other clients for Node write commands to one connection in the order of the calls, so code often publishes without awaiting each
# message, or after `Promise.all`. GLIDE hands its calls to threads of its core, which overtake each other, on one server and one
# connection too: messages on one channel, and elements that are pushed to one list, change places. Within one Batch the order is kept.
#
# Output seen (10 rounds of 300 messages published in one tick, then 10 of lists, then one Batch):
#   ioredis: messages in order, lists in order
#   node-redis: messages in order, lists in order
#   GLIDE: messages out of order, lists out of order
#   GLIDE, one Batch: in order
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$dir" >/dev/null & server=$!
trap 'kill $server; rm -rf "$dir"' EXIT
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @valkey/valkey-glide@2.5.2 ioredis@5.11.1 redis@6.3.1 >/dev/null 2>&1
cat >run.mjs <<'JS'
import glide from '@valkey/valkey-glide';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
const port = Number(process.argv[2]);
const numbers = Array.from({ length: 300 }, (_, i) => i);
const isOrdered = (list) => list.every((number, i) => i === 0 || number > list[i - 1]);
const verdict = (rounds) => (rounds.every(isOrdered) ? 'in order' : 'out of order');
const subscriber = new Redis(port, '127.0.0.1');
const reader = new Redis(port, '127.0.0.1');
let received = [];
let complete = () => {};
subscriber.on('message', (_channel, text) => {
  if (received.push(Number(text)) === numbers.length) complete();
});
await subscriber.subscribe('news');
async function messages(publish) {
  const rounds = [];
  for (let round = 0; round < 10; round++) {
    received = [];
    const all = new Promise((resolve) => { complete = resolve; });
    await Promise.all(numbers.map((number) => publish(String(number))));
    await all;
    rounds.push(received);
  }
  return verdict(rounds);
}
async function lists(push) {
  const rounds = [];
  for (let round = 0; round < 10; round++) {
    await reader.del('list');
    await Promise.all(numbers.map((number) => push(String(number))));
    rounds.push((await reader.lrange('list', 0, -1)).map(Number));
  }
  return verdict(rounds);
}
const io = new Redis(port, '127.0.0.1');
console.log(`ioredis: messages ${await messages((text) => io.publish('news', text))}, lists ${await lists((text) => io.rpush('list', text))}`);
const node = createClient({ url: `redis://127.0.0.1:${port}` });
await node.connect();
console.log(`node-redis: messages ${await messages((text) => node.publish('news', text))}, lists ${await lists((text) => node.rPush('list', text))}`);
const configuration = { addresses: [{ host: '127.0.0.1', port }], requestTimeout: 10_000 };
const client = await glide.GlideClient.createClient(configuration);
console.log(`GLIDE: messages ${await messages((text) => client.publish(text, 'news'))}, lists ${await lists((text) => client.rpush('list', [text]))}`);
await reader.del('list');
const batch = new glide.Batch(false);
for (const number of numbers) batch.rpush('list', [String(number)]);
await client.exec(batch, true);
console.log(`GLIDE, one Batch: ${verdict([(await reader.lrange('list', 0, -1)).map(Number)])}`);
process.exit();
JS
got=$(timeout 50 node run.mjs "$port")
echo "$got"
expected='ioredis: messages in order, lists in order
node-redis: messages in order, lists in order
GLIDE: messages out of order, lists out of order
GLIDE, one Batch: in order'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
