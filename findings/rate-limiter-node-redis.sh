#!/usr/bin/env bash
# rate-limiter-flexible recognises node-redis 4 by itself, but not node-redis 5 and 6: with an insurance limiter each process then
# counts alone, and nothing says so.
#
# Versions: rate-limiter-flexible 11.4.0, redis 4.7.1, 5.12.1 and 6.3.1; redis-server 7.0.15 or later on the PATH; Node 20.20.
# RateLimiterRedis tells clients apart by the name of their class. That of node-redis 4 is Commander; clients of 5 and 6 are of a class
# made at run time, so they are taken for ioredis. `consume` then rejects with a TypeError, before anything is sent. The option
# `insuranceLimiter`, meant for outages of Redis, hides this error: all works, but a limit of 2 is 2 per process. `useRedisPackage: true`
# settles it.
#
# Output seen (two processes' limiters, a limit of 2 together, 4 calls):
#   redis 4: 2 allowed, counted in Redis
#   redis 5: 4 allowed, not counted in Redis
#   redis 6: 4 allowed, not counted in Redis
#   redis 6 with useRedisPackage: 2 allowed, counted in Redis
#   redis 6 without insurance: this.client.rlflxIncr is not a function
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$dir" >/dev/null & server=$!
trap 'kill $server; rm -rf "$dir"' EXIT
npm init -y >/dev/null
npm install --silent --no-audit --no-fund rate-limiter-flexible@11.4.0 redis4@npm:redis@4.7.1 redis5@npm:redis@5.12.1 redis6@npm:redis@6.3.1
cat >run.mjs <<'JS'
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
const limit = { points: 2, duration: 60 };
async function open(version) {
  const { createClient } = await import(`redis${version}`);
  const client = createClient({ url: `redis://127.0.0.1:${process.argv[2]}` });
  client.on('error', () => {});
  await client.connect();
  return client;
}
async function count(label, version, options = {}) {
  const clients = [await open(version), await open(version)];
  let allowed = 0;
  for (const storeClient of clients) {
    const insuranceLimiter = new RateLimiterMemory(limit);
    const limiter = new RateLimiterRedis({ ...limit, storeClient, insuranceLimiter, keyPrefix: label, ...options });
    for (let i = 0; i < 2; i++) await limiter.consume('ann').then(() => allowed++, () => {});
  }
  const counted = (await clients[0].exists(`${label}:ann`)) === 1;
  console.log(`${label}: ${allowed} allowed, ${counted ? '' : 'not '}counted in Redis`);
}
await count('redis 4', 4);
await count('redis 5', 5);
await count('redis 6', 6);
await count('redis 6 with useRedisPackage', 6, { useRedisPackage: true });
const limiter = new RateLimiterRedis({ ...limit, storeClient: await open(6) });
console.log(`redis 6 without insurance: ${await limiter.consume('ann').catch((error) => error.message)}`);
process.exit();
JS
got=$(timeout 30 node run.mjs "$port")
echo "$got"
expected='redis 4: 2 allowed, counted in Redis
redis 5: 4 allowed, not counted in Redis
redis 6: 4 allowed, not counted in Redis
redis 6 with useRedisPackage: 2 allowed, counted in Redis
redis 6 without insurance: this.client.rlflxIncr is not a function'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
