#!/usr/bin/env bash
# partysocket and reconnecting-websocket send what waited in their queue before what the `open` handler sends.
#
# Versions: partysocket 1.3.0, reconnecting-websocket 4.4.0, ws 8.23.0; Node 20.20.
# Both keep messages that are sent without a connection, and send them when it is there. A handler of `open` is where clients usually
# authenticate and join. It runs after the queue, at every reconnect: a server that wants the authentication first sees other messages
# before it, and refuses or drops them, but only those of users whose connection broke. A protocol on top of these packages needs an own
# queue, emptied by the answer to the first message (`maxEnqueuedMessages: 0` turns theirs off).
#
# Output seen:
#   partysocket: connection 1: auth, hello; connection 2: while away, auth
#   reconnecting-websocket: connection 1: auth, hello; connection 2: while away, auth
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund partysocket@1.3.0 reconnecting-websocket@4.4.0 ws@8.23.0
cat >run.mjs <<'JS'
import { once } from 'node:events';
import PartySocketWebSocket from 'partysocket/ws';
import ReconnectingWebSocket from 'reconnecting-websocket';
import { WebSocket, WebSocketServer } from 'ws';
async function run(name, module) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const connections = [];
  const accept = async (count) => {
    const [socket] = await once(server, 'connection');
    const received = [];
    connections.push(received);
    await new Promise((resolve) => socket.on('message', (data) => {
      if (received.push(String(data)) === count) resolve();
    }));
    return socket;
  };
  const first = accept(2);
  const Class = module.default ?? module;
  const client = new Class(`ws://127.0.0.1:${server.address().port}`, [], { WebSocket, minReconnectionDelay: 100 });
  let opens = 0;
  client.addEventListener('open', () => {
    client.send('auth');
    if (++opens === 1) client.send('hello');
  });
  const socket = await first;
  const second = accept(2);
  const away = new Promise((resolve) => client.addEventListener('close', resolve, { once: true }));
  socket.terminate();
  await away;
  client.send('while away');
  await second;
  console.log(`${name}: ${connections.map((received, i) => `connection ${i + 1}: ${received.join(', ')}`).join('; ')}`);
  client.close();
  server.close();
}
await run('partysocket', PartySocketWebSocket);
await run('reconnecting-websocket', ReconnectingWebSocket);
process.exit();
JS
got=$(timeout 30 node run.mjs)
echo "$got"
expected='partysocket: connection 1: auth, hello; connection 2: while away, auth
reconnecting-websocket: connection 1: auth, hello; connection 2: while away, auth'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
