#!/usr/bin/env bash
# The Cluster client of ioredis finds no node of a Cluster whose nodes announce no address (`cluster-preferred-endpoint-type
# unknown-endpoint`), which Redis 7.0 and later offer for Clusters behind one load balancer. node-redis works there.
#
# Versions: ioredis 5.11.0, redis 6.3.1 (npm), redis-server 7.0.15 or later on the PATH.
# In the answer to CLUSTER SLOTS the host of each node is then null: the client is to use the address at which it asked. ioredis leaves
# such nodes out, has no node afterwards, and every command fails with a message about its startup nodes, which can be reached. With
# the default `ip` both clients write all 30 keys.
#
# Output seen:
#   ip {"redis":30,"ioredis":30,"nodes":3,"error":null}
#   unknown-endpoint {"redis":30,"ioredis":0,"nodes":0,"error":"None of startup nodes is available"}
set -euo pipefail
dir=$(mktemp -d); cd "$dir"; servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ioredis@5.11.0 redis@6.3.1 >/dev/null 2>&1
cat >run.mjs <<'JS'
import Redis from 'ioredis';
import { createCluster } from 'redis';
const ports = process.argv.slice(2).map(Number);
const keys = Array.from({ length: 30 }, (_, n) => `key${n}`);
const count = async (set) => {
  let written = 0;
  let message = null;
  for (const key of keys) await set(key, '1').then(() => written++, (error) => { message ??= error.message; });
  return [written, message];
};
const cluster = createCluster({ rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })) });
cluster.on('error', () => {});
await cluster.connect();
const [redis] = await count((key, value) => cluster.set(key, value));
const other = new Redis.Cluster(ports.map((port) => ({ host: '127.0.0.1', port })), { clusterRetryStrategy: null });
other.on('error', () => {});
const [ioredis, error] = await count((key, value) => other.set(key, value));
console.log(JSON.stringify({ redis, ioredis, nodes: other.nodes('master').length, error }));
process.exit();
JS
got=''
for type in ip unknown-endpoint; do
  mapfile -t ports < <(node -e '
    const listen = () => new Promise((resolve) => {
      // The bus of a node listens on its port + 10000.
      const server = require("net").createServer().listen(20000 + Math.floor(Math.random() * 20000), "127.0.0.1", () => resolve(server));
      server.on("error", () => resolve(listen()));
    });
    Promise.all([listen(), listen(), listen()]).then((all) => { for (const each of all) { console.log(each.address().port); each.close(); } });')
  servers=()
  for port in "${ports[@]}"; do
    mkdir "$type-$port"
    redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$dir/$type-$port" --cluster-enabled yes \
      --cluster-preferred-endpoint-type "$type" >/dev/null &
    servers+=($!)
  done
  for port in "${ports[@]}"; do until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.1; done; done
  redis-cli --cluster create "${ports[@]/#/127.0.0.1:}" --cluster-yes >/dev/null
  for port in "${ports[@]}"; do until [[ $(redis-cli -p "$port" cluster info) == *cluster_state:ok* ]]; do sleep 0.1; done; done
  got+="$type $(node run.mjs "${ports[@]}")"$'\n'
  kill "${servers[@]}"; wait "${servers[@]}" 2>/dev/null || true
done
printf %s "$got"
[[ $got == 'ip {"redis":30,"ioredis":30,"nodes":3,"error":null}
unknown-endpoint {"redis":30,"ioredis":0,"nodes":0,"error":"None of startup nodes is available"}
' ]] || { echo 'the behaviour has changed' >&2; exit 1; }
