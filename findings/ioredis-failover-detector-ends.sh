#!/usr/bin/env bash
# With `failoverDetector: true` a client of ioredis 5 ends for good when its master is killed, if the sentinels answer slowly. Without
# the option, or with ioredis 6, it reconnects to the new master.
#
# Versions: ioredis 5.11.0 and 6.0.0 (npm), redis-server 7.0.15 or later on the PATH.
# Three sentinels answer 300 ms late, as from another region. The detector of the lost connection still listens to them. The news of the
# failover arrives while the client asks a sentinel for the master; the detector then disconnects the client's connector. The client takes
# this for a close by its owner: the error "Connection is closed.", status `end`, no further attempt, although its retry strategies are the
# defaults. On a busy machine it happens without the delay as well. Calling `connect()` again helps.
#
# Output seen, three times:
#   5.11.0 {"detector":{"status":"end","closed":true},"default":{"status":"ready","closed":false}}
#   6.0.0 {"detector":{"status":"ready","closed":false},"default":{"status":"ready","closed":false}}
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
trap 'rm -rf "$dir"' EXIT
cat >run.mjs <<'JS'
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { join } from 'node:path';
import { Redis } from 'ioredis';

const host = '127.0.0.1';
const DELAY_MS = 300;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const servers = [];
const start = (...args) => {
  const child = spawn('redis-server', args.map(String), { stdio: 'ignore' });
  servers.push(child);
  return child;
};
process.on('exit', () => {
  for (const server of servers) server.kill('SIGKILL');
});
const sparePort = async () => {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
};
const until = async (check) => {
  while (!(await check().catch(() => false))) await pause(100);
};

async function outcome(name, options) {
  const dir = join(process.cwd(), name);
  mkdirSync(dir);
  const [master, replica] = [await sparePort(), await sparePort()];
  const common = ['--bind', host, '--save', '', '--dir', dir, '--repl-diskless-sync', 'no'];
  const server = start('--port', master, ...common);
  start('--port', replica, ...common, '--replicaof', host, master);
  const sentinels = [];
  let control;
  for (let n = 0; n < 3; n++) {
    const port = await sparePort();
    const file = join(dir, `sentinel-${n}.conf`);
    const set = (option, value) => `sentinel ${option} main ${value}\n`;
    const address = `port ${port}\nbind ${host}\ndir ${dir}\n`;
    writeFileSync(file, address + set('monitor', `${host} ${master} 2`) + set('down-after-milliseconds', 1000) + set('failover-timeout', 4000));
    start(file, '--sentinel');
    const proxy = createServer((near) => {
      const far = createConnection({ port, host });
      near.on('data', (data) => far.write(data));
      far.on('data', (data) => setTimeout(() => near.writable && near.write(data), DELAY_MS));
      for (const socket of [near, far]) {
        socket.on('error', () => {});
        socket.on('close', () => near.destroy() && far.destroy());
      }
    }).listen(0, host);
    await once(proxy, 'listening');
    sentinels.push({ host, port: proxy.address().port });
    control ??= new Redis(port, host).on('error', () => {});
  }
  const follower = new Redis(replica, host).on('error', () => {});
  await until(async () => {
    const fields = await control.call('SENTINEL', 'MASTER', 'main');
    const value = (field) => fields[fields.indexOf(field) + 1];
    const ready = value('num-slaves') === '1' && value('num-other-sentinels') === '2' && value('flags') === 'master';
    return ready && (await follower.info('replication')).includes('master_link_status:up');
  });
  const client = new Redis({ sentinels, name: 'main', ...options });
  let closed = false;
  client.on('error', ({ message }) => { closed ||= message === 'Connection is closed.'; });
  await until(async () => client.status === 'ready');
  // The detector has subscribed at the sentinels.
  await pause(2_000);
  server.kill('SIGKILL');
  await once(client, 'close');
  await until(async () => client.status === 'ready' || client.status === 'end');
  await pause(2_000);
  const { status } = client;
  for (const each of [client, control, follower]) each.disconnect();
  return { status, closed };
}

console.log(JSON.stringify({ detector: await outcome('detector', { failoverDetector: true }), default: await outcome('default', {}) }));
process.exit();
JS
got=''
for version in 5.11.0 6.0.0; do
  mkdir "$version"
  (cd "$version"; npm init -y >/dev/null; npm install --silent --no-audit --no-fund "ioredis@$version" >/dev/null 2>&1; cp ../run.mjs .)
  got+="$version $(cd "$version"; node run.mjs 2>/dev/null)"$'\n'
done
printf %s "$got"
ready='{"status":"ready","closed":false}'
expected="5.11.0 {\"detector\":{\"status\":\"end\",\"closed\":true},\"default\":$ready}
6.0.0 {\"detector\":$ready,\"default\":$ready}
"
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
