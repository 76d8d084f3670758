#!/usr/bin/env bash
# An ioredis client with a `db` that the server refuses becomes `ready` and runs its commands in database 0. node-redis does not connect.
#
# Versions: ioredis 5.11.1 and 6.0.0, redis 6.3.1 (npm), redis-server 7.0.15 or later on the PATH.
# The server has one database (`databases 1`), as several managed services do, and the client asks for database 2. The client of ioredis emits the error of its
# SELECT, and then `ready`. Its option and the database it believes in stay 2; SET writes to database 0.
#
# Output seen, three times:
#   ioredis 5.11.1 {"status":"ready","select":2,"error":"ERR DB index is out of range","reply":"OK","keysInDatabase0":["x"]}
#   ioredis 6.0.0 {"status":"ready","select":2,"error":"ERR DB index is out of range","reply":"OK","keysInDatabase0":["x"]}
#   redis 6.3.1 {"ready":false,"error":"ERR DB index is out of range","keysInDatabase0":[]}
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
trap 'rm -rf "$dir"' EXIT
cat >run.mjs <<'JS'
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';

const host = '127.0.0.1';
const [name] = process.argv.slice(2);
const probe = createServer().listen(0, host);
await once(probe, 'listening');
const { port } = probe.address();
probe.close();
const options = ['--bind', host, '--port', String(port), '--save', '', '--databases', '1'];
const server = spawn('redis-server', options, { stdio: ['ignore', 'pipe', 'ignore'] });
process.on('exit', () => server.kill('SIGKILL'));
for await (const chunk of server.stdout) if (String(chunk).includes('Ready to accept connections')) break;

let error;
const noteError = (each) => {
  error ??= each.message;
};
if (name === 'ioredis') {
  const { Redis } = await import('ioredis');
  const client = new Redis({ host, port, db: 2 });
  client.on('error', noteError);
  // `once` of node:events would reject with the error.
  await new Promise((resolve) => client.on('ready', resolve));
  const reply = await client.set('x', '1');
  const { status, condition } = client;
  const plain = new Redis(port, host);
  console.log(JSON.stringify({ status, select: condition.select, error, reply, keysInDatabase0: await plain.keys('*') }));
} else {
  const { createClient } = await import('redis');
  const client = createClient({ socket: { host, port }, database: 2 });
  const failed = new Promise((resolve) => client.on('error', (each) => resolve(noteError(each))));
  client.connect().catch(noteError);
  await failed;
  const plain = await createClient({ socket: { host, port } }).connect();
  console.log(JSON.stringify({ ready: client.isReady, error, keysInDatabase0: await plain.keys('*') }));
}
process.exit();
JS
for package in ioredis@5.11.1 ioredis@6.0.0 redis@6.3.1; do
  mkdir "$package"
  (cd "$package" && npm install --silent --no-audit --no-fund "$package" >/dev/null 2>&1 && cp ../run.mjs . &&
    echo "${package/@/ } $(node run.mjs "${package%@*}")") | tee -a seen
done
diff - seen <<'SEEN'
ioredis 5.11.1 {"status":"ready","select":2,"error":"ERR DB index is out of range","reply":"OK","keysInDatabase0":["x"]}
ioredis 6.0.0 {"status":"ready","select":2,"error":"ERR DB index is out of range","reply":"OK","keysInDatabase0":["x"]}
redis 6.3.1 {"ready":false,"error":"ERR DB index is out of range","keysInDatabase0":[]}
SEEN
