#!/usr/bin/env bash
# @microsoft/fetch-event-source stops for good when the server ends a stream in an orderly way, and reconnects when it is cut off.
#
# Versions: @microsoft/fetch-event-source 2.0.1; Node 20.20 (its fetch; the package wants a window and a document, given as stubs).
# A browser's EventSource reconnects after every end of a stream unless the answer is a 204. This package resolves its promise when
# the response ends, as after a deploy with a graceful shutdown or at the time limit of a proxy that ends chunked responses properly.
# It sends no further request, without an error. A destroyed connection, by contrast, is an error: it reconnects and sends
# Last-Event-ID. A server that wants to keep such clients has to be left by a reset, or the client has to throw in `onclose`.
#
# Output seen:
#   orderly end: 1 request, resolved
#   reset: 3 requests, last ids 1 2
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @microsoft/fetch-event-source@2.0.1
cat >run.mjs <<'JS'
import { once } from 'node:events';
import http from 'node:http';
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import('@microsoft/fetch-event-source');
const ends = process.argv[2];
const ids = [];
let third;
const threeRequests = new Promise((resolve) => { third = () => resolve(`3 requests, last ids ${ids[1]} ${ids[2]}`); });
const server = http.createServer((request, response) => {
  const number = ids.push(request.headers['last-event-id']);
  if (number === 3) return third();
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(`retry: 50\nid: ${number}\ndata: hello\n\n`, () => {
    // A turn later, so that the client has read the event.
    setTimeout(() => (ends === 'orderly' ? response.end() : request.socket.destroy()), 200);
  });
});
await once(server.listen(0, '127.0.0.1'), 'listening');
const done = fetchEventSource(`http://127.0.0.1:${server.address().port}/`, { fetch, onerror() {} });
const resolved = done.then(() => `${ids.length} request, resolved`);
console.log(await Promise.race([resolved, threeRequests]));
process.exit();
JS
got=$(echo "orderly end: $(node run.mjs orderly)"; echo "reset: $(node run.mjs reset)")
echo "$got"
[[ $got == $'orderly end: 1 request, resolved\nreset: 3 requests, last ids 1 2' ]] || { echo 'the behaviour has changed' >&2; exit 1; }
