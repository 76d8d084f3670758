#!/usr/bin/env bash
# ioredis-mock's Cluster shares neither data nor channels with plain mock clients, its own nodes hold no data, and all Clusters are one.
#
# Versions: ioredis-mock 8.13.1, ioredis 5.11.1; Node 20.20.
# Plain clients of the mock with the same host and port share data, as with a server. One might expect that of a Cluster whose start
# nodes have that address too. A Cluster is a world of its own instead: a test in which one process publishes by a Cluster client and
# another subscribes by a plain one hears nothing. `nodes()` returns clients that see no key, so code that scans each node finds an empty
# Cluster. And two Clusters with different start nodes are the same Cluster, so tests that use two see each other's data.
#
# Output seen:
#   plain client, same address: key null, 0 receivers
#   node of the Cluster: key null
#   Cluster with other start nodes: key value, 1 receivers
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ioredis-mock@8.13.1 ioredis@5.11.1
cat >run.mjs <<'JS'
import Redis from 'ioredis-mock';
const address = { host: 'localhost', port: 7001 };
const cluster = new Redis.Cluster([address]);
const subscriber = new Redis.Cluster([address]);
await subscriber.subscribe('news');
await cluster.set('key', 'value');
const plain = new Redis(address);
console.log(`plain client, same address: key ${await plain.get('key')}, ${await plain.publish('news', 'x')} receivers`);
console.log(`node of the Cluster: key ${await cluster.nodes()[0].get('key')}`);
const other = new Redis.Cluster([{ host: 'elsewhere', port: 7099 }]);
console.log(`Cluster with other start nodes: key ${await other.get('key')}, ${await other.publish('news', 'x')} receivers`);
process.exit();
JS
got=$(timeout 30 node run.mjs)
echo "$got"
expected='plain client, same address: key null, 0 receivers
node of the Cluster: key null
Cluster with other start nodes: key value, 1 receivers'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
