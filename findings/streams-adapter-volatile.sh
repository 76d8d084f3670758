#!/usr/bin/env bash
# Socket.IO's Redis Streams adapter replays volatile events, also those that the client has received already.
#
# Versions: socket.io and socket.io-client 4.8.4, @socket.io/redis-streams-adapter 0.3.1, ioredis 5.11.1; redis-server 7.0.15 or later
# on the PATH; Node 20.20.
# With connection state recovery a client that was away for a moment gets the events it has missed. Socket.IO gives volatile events
# no offset, and its in-memory adapter leaves them out of a recovery. The streams adapter writes them to the stream like all others
# and replays every entry behind the client's last offset. So a volatile event that arrived after the last normal event arrives twice,
# and those of the time away, for example cursor positions, arrive late, as if they were new.
#
# Output seen:
#   memory: normal 1, volatile 1, normal 2
#   streams: normal 1, volatile 1, volatile 1, volatile 2, normal 2
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
port=$(node -e 'const s=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})')
redis-server --port "$port" --bind 127.0.0.1 --save '' --dir "$dir" >/dev/null & server=$!
trap 'kill $server; rm -rf "$dir"' EXIT
npm init -y >/dev/null
npm install --silent --no-audit --no-fund socket.io@4.8.4 socket.io-client@4.8.4 @socket.io/redis-streams-adapter@0.3.1 ioredis@5.11.1
cat >run.mjs <<'JS'
import { once } from 'node:events';
import http from 'node:http';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
const redis = new Redis(Number(process.argv[2]), '127.0.0.1');
async function run(name, adapter) {
  const listener = http.createServer();
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const server = new Server(listener, { connectionStateRecovery: { maxDisconnectionDuration: 60_000 }, ...adapter });
  const client = io(`http://127.0.0.1:${listener.address().port}`, { transports: ['websocket'], reconnectionDelay: 500 });
  const received = [];
  const waiting = new Map();
  const arrival = (text) => new Promise((resolve) => waiting.set(text, resolve));
  client.onAny((event, number) => {
    received.push(`${event} ${number}`);
    waiting.get(`${event} ${number}`)?.();
  });
  await once(client, 'connect');
  const first = arrival('normal 1');
  server.emit('normal', 1);
  await first;
  // Not earlier: a volatile event is dropped while the connection is busy.
  const second = arrival('volatile 1');
  server.volatile.emit('volatile', 1);
  await second;
  const last = arrival('normal 2');
  const gone = once(client, 'disconnect');
  client.io.engine.close();
  await gone;
  // The server has noticed too, or the event would be written to the old connection.
  while (server.sockets.sockets.size > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  server.volatile.emit('volatile', 2);
  server.emit('normal', 2);
  await last;
  console.log(`${name}: ${received.join(', ')}${client.recovered ? '' : ' (not recovered)'}`);
  client.close();
}
await run('memory');
const adapter = createAdapter(redis);
// The reader begins with the entries after its first XREAD.
while (!(await redis.client('LIST')).includes('cmd=xread')) await new Promise((resolve) => setTimeout(resolve, 20));
await run('streams', { adapter });
process.exit();
JS
got=$(timeout 40 node run.mjs "$port")
echo "$got"
expected='memory: normal 1, volatile 1, normal 2
streams: normal 1, volatile 1, volatile 1, volatile 2, normal 2'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
