#!/usr/bin/env bash
# The WebSocket of Node 24 and 26 sends a handshake that was answered with 401 a second time. The one of Node 22 sends it once, but after
# any refusal it has no close event and stays in the state CONNECTING.
#
# Versions: node 22.23.3, 24.21.0 and 26.10.0 (from npm).
# A server counts the handshakes that it refuses with 401, 403 and 503. A rate limit for failed logins, or a counter of refused
# clients, counts each 401 twice. A client that waits for the close event to try again waits for ever on Node 22, where only the
# error event comes; browsers, and the package ws, emit both.
#
# Output seen:
#   v22.23.3 {"401":{"handshakes":1,"events":["error"],"readyState":0},"403":{"handshakes":1,"events":["error"],"readyState":0},"503":{"handshakes":1,"events":["error"],"readyState":0}}
#   v24.21.0 {"401":{"handshakes":2,"events":["error","close"],"readyState":3},"403":{"handshakes":1,"events":["error","close"],"readyState":3},"503":{"handshakes":1,"events":["error","close"],"readyState":3}}
#   v26.10.0 {"401":{"handshakes":2,"events":["error","close"],"readyState":3},"403":{"handshakes":1,"events":["error","close"],"readyState":3},"503":{"handshakes":1,"events":["error","close"],"readyState":3}}
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
trap 'rm -rf "$dir"' EXIT
cat >run.mjs <<'JS'
import { once } from 'node:events';
import { createServer } from 'node:http';
const result = {};
for (const status of ['401 Unauthorized', '403 Forbidden', '503 Service Unavailable']) {
  let handshakes = 0;
  const server = createServer().on('upgrade', (_request, socket) => {
    handshakes++;
    socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const events = [];
  const socket = new WebSocket(`ws://127.0.0.1:${server.address().port}`);
  for (const type of ['open', 'error', 'close']) socket.addEventListener(type, () => events.push(type));
  await once(socket, 'error');
  // Time enough for a close event and another handshake.
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  result[status.slice(0, 3)] = { handshakes, events, readyState: socket.readyState };
  server.close();
}
console.log(process.version, JSON.stringify(result));
process.exit();
JS
got=''
for version in 22.23.3 24.21.0 26.10.0; do
  mkdir "$version"; (cd "$version"; npm init -y >/dev/null; npm install --silent --no-audit --no-fund "node@$version" >/dev/null 2>&1)
  got+="$("$(find "$version/node_modules" -path '*bin/node' | head -1)" run.mjs)"$'\n'
done
printf %s "$got"
state() { printf '"%s":{"handshakes":%s,"events":[%s],"readyState":%s}' "$@"; }
both='"error","close"'
expected="v22.23.3 {$(state 401 1 '"error"' 0),$(state 403 1 '"error"' 0),$(state 503 1 '"error"' 0)}
v24.21.0 {$(state 401 2 "$both" 3),$(state 403 1 "$both" 3),$(state 503 1 "$both" 3)}
v26.10.0 {$(state 401 2 "$both" 3),$(state 403 1 "$both" 3),$(state 503 1 "$both" 3)}
"
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
