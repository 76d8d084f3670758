#!/usr/bin/env bash
# @valkey/valkey-glide does not tell that Redis refuses a subscription: it times out, or waits for ever while the client tries again.
#
# Versions: @valkey/valkey-glide 2.5.2, ioredis 5.11.1; redis-server 7.0.15 or later on the PATH; Node 20.20.
# A user may have rights to some channels only. Other clients reject `subscribe` with Redis's NOPERM. GLIDE keeps a set of wanted channels
# and tries to reach it in the background. Where Redis refuses, `subscribe(channels, timeout)` rejects with "timed out" after its time
# limit, with the limit 0 it never settles, and `subscribeLazy` resolves. The client goes on trying until it is told to unsubscribe: each
# attempt is an entry in ACL LOG.
#
# Output seen:
#   ioredis: NOPERM
#   GLIDE, 1 s: TimeoutError: timed out
#   GLIDE, lazily: resolved
#   refused in the next 10 s without a call: more than once
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$dir" >/dev/null & server=$!
trap 'kill $server; rm -rf "$dir"' EXIT
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @valkey/valkey-glide@2.5.2 ioredis@5.11.1 >/dev/null 2>&1
cat >run.mjs <<'JS'
import { setTimeout as sleep } from 'node:timers/promises';
import glide from '@valkey/valkey-glide';
import { Redis } from 'ioredis';
const port = Number(process.argv[2]);
glide.Logger.setLoggerConfig('off');
const admin = new Redis(port, '127.0.0.1');
await admin.call('ACL', 'SETUSER', 'reader', 'on', '>secret', '~*', '+@all', 'resetchannels', '&news');
const reader = new Redis(port, '127.0.0.1', { username: 'reader', password: 'secret' });
console.log(`ioredis: ${await reader.subscribe('other').catch((error) => error.message.slice(0, 6))}`);
const client = await glide.GlideClient.createClient({
  addresses: [{ host: '127.0.0.1', port }],
  credentials: { username: 'reader', password: 'secret' },
});
const told = (promise) => promise.then(() => 'resolved', (error) => `${error.name}: ${error.message}`);
console.log(`GLIDE, 1 s: ${await told(client.subscribe(new Set(['other']), 1_000))}`);
console.log(`GLIDE, lazily: ${await told(client.subscribeLazy(new Set(['other'])))}`);
const refusals = async () => {
  const entries = await admin.call('ACL', 'LOG');
  return entries.filter((entry) => entry.includes('other')).reduce((sum, entry) => sum + Number(entry[1]), 0);
};
const before = await refusals();
await sleep(10_000);
const more = (await refusals()) - before;
console.log(`refused in the next 10 s without a call: ${more > 1 ? 'more than once' : more}`);
process.exit();
JS
got=$(timeout 50 node run.mjs "$port")
echo "$got"
expected='ioredis: NOPERM
GLIDE, 1 s: TimeoutError: timed out
GLIDE, lazily: resolved
refused in the next 10 s without a call: more than once'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
