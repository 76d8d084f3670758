#!/usr/bin/env bash
# valkey-server 9.1.2 can apply a write of one database to another while CLUSTER MIGRATESLOTS moves a slot.
#
# Versions: valkey-server 9.1.2 (Debian forky), named by VALKEY_SERVER; redis 6.3.1; Node 20.20.
# A Cluster of Valkey 9 may have several logical databases (`cluster-databases`). MIGRATESLOTS sends a snapshot of a slot, then the writes
# made since. If databases 0 and 1 both have keys in the slot and are written during the move, then in about one move of ten the
# new owner applies one acknowledged write of database 0 to database 1. No reply is an error. With writes in one database only, none of 25
# moves did.
#
# Output seen (the number of the round differs):
#   round 10: database 0 lacks 1 of its writes, database 1 has 1 that nobody sent to it
set -euo pipefail
: "${VALKEY_SERVER:?the path of valkey-server 9.1.2}"
dir=$(mktemp -d); cd "$dir"
trap 'kill $(cat pids) 2>/dev/null || true; rm -rf "$dir"' EXIT
touch pids
read -r port other < <(node -e '
const net = require("net");
const free = () => new Promise((done) => { const s = net.createServer().listen(0, "127.0.0.1", () => { const { port } = s.address(); s.close(() => done(port)); }); });
(async () => { for (;;) { const [a, b] = [await free(), await free()]; if (Math.max(a, b) < 55000) return console.log(a, b); } })()')
for each in "$port" "$other"; do
  mkdir "$each"
  "$VALKEY_SERVER" --port "$each" --bind 127.0.0.1 --dir "$dir/$each" --save '' --cluster-enabled yes --cluster-databases 2 \
    --cluster-port $((each + 10000)) --cluster-announce-ip 127.0.0.1 >/dev/null & echo $! >>pids
done
npm init -y >/dev/null
npm install --silent --no-audit --no-fund redis@6.3.1 >/dev/null 2>&1
cat >run.mjs <<'JS'
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient, createCluster } from 'redis';
const host = '127.0.0.1';
const ports = process.argv.slice(2).map(Number);
const nodes = await Promise.all(ports.map((port) => createClient({ socket: { host, port } }).on('error', () => {}).connect()));
const run = (at, ...args) => nodes[at].sendCommand(args.map(String));
await run(0, 'CLUSTER', 'ADDSLOTSRANGE', 0, 8191);
await run(1, 'CLUSTER', 'ADDSLOTSRANGE', 8192, 16383);
await run(0, 'CLUSTER', 'SET-CONFIG-EPOCH', 1);
await run(1, 'CLUSTER', 'SET-CONFIG-EPOCH', 2);
await run(0, 'CLUSTER', 'MEET', host, ports[1], ports[1] + 10000);
for (const at of [0, 1]) while (!/cluster_state:ok[^]*known_nodes:2/.test(await run(at, 'CLUSTER', 'INFO'))) await sleep(100);
const ids = await Promise.all([0, 1].map((at) => run(at, 'CLUSTER', 'MYID')));
const clients = await Promise.all([0, 1].map((database) => {
  const rootNodes = ports.map((port) => ({ socket: { host, port } }));
  return createCluster({ rootNodes, defaults: { database } }).on('error', () => {}).connect();
}));
const slot = Number(await run(0, 'CLUSTER', 'KEYSLOT', '{t}'));
let owner = slot < 8192 ? 0 : 1;
for (let round = 1; round <= 80; round++) {
  const key = `{t}:${round}`;
  const acknowledged = [new Set(), new Set()];
  let writing = true;
  const writers = clients.map(async (client, database) => {
    for (let n = 0; writing; n++) {
      await client.rPush(key, `${database}:${n}`);
      acknowledged[database].add(`${database}:${n}`);
      await sleep(1);
    }
  });
  await sleep(100);
  await run(owner, 'CLUSTER', 'MIGRATESLOTS', 'SLOTSRANGE', slot, slot, 'NODE', ids[1 - owner]);
  await sleep(500);
  writing = false;
  await Promise.all(writers);
  owner = 1 - owner;
  const [zero, one] = await Promise.all(clients.map((client) => client.lRange(key, 0, -1)));
  const lost = [...acknowledged[0]].filter((write) => !zero.includes(write)).length;
  const foreign = one.filter((write) => !acknowledged[1].has(write)).length;
  if (lost + foreign === 0) continue;
  console.log(`round ${round}: database 0 lacks ${lost} of its writes, database 1 has ${foreign} that nobody sent to it`);
  break;
}
process.exit();
JS
got=$(timeout 170 node run.mjs "$port" "$other")
echo "$got"
[[ $got == *"database 0 lacks 1 of its writes, database 1 has 1 that nobody sent to it" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
