#!/usr/bin/env bash
# Two majors of the npm package `eventsource` forget an event id that comes without data.
#
# Versions: eventsource 2.0.2, 3.0.7, 4.1.0 and 5.1.5, undici 7.30.2; Node 20.20.
# An event stream may send a block that has an `id:` line and no `data:` line. The HTML standard ("dispatch the event", step 1) sets
# the last event id before it looks at the data, so the next request must carry it as Last-Event-ID. A server uses such blocks to
# move a client's position without an event, for example past events that the client may not see.
# eventsource 2 and 5, and undici's EventSource, send the id of the block without data. eventsource 3 and 4 send the id of the last
# event that had data: the server then replays everything after it, at every reconnect.
#
# Output seen:
#   eventsource 2.0.2 position-1 position-2
#   eventsource 3.0.7 1 2
#   eventsource 4.1.0 1 2
#   eventsource 5.1.5 position-1 position-2
#   undici 7.30.2 position-1 position-2
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund es2@npm:eventsource@2.0.2 es3@npm:eventsource@3.0.7 es4@npm:eventsource@4.1.0 \
  es5@npm:eventsource@5.1.5 undici@7.30.2
cat >run.mjs <<'JS'
import { once } from 'node:events';
import http from 'node:http';
const [name, label] = process.argv.slice(2);
const module = await import(name);
const EventSource = module.EventSource ?? module.default;
const ids = [];
let third;
const reconnectedTwice = new Promise((resolve) => { third = resolve; });
const server = http.createServer((request, response) => {
  const number = ids.push(request.headers['last-event-id'] ?? '');
  if (number === 3) return third();
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(`retry: 50\nid: ${number}\ndata: hello\n\nid: position-${number}\n\n`);
});
await once(server.listen(0, '127.0.0.1'), 'listening');
const source = new EventSource(`http://127.0.0.1:${server.address().port}/`);
source.onerror = () => {};
await reconnectedTwice;
console.log(label, ids[1], ids[2]);
process.exit();
JS
got=$(for each in "es2 2.0.2" "es3 3.0.7" "es4 4.1.0" "es5 5.1.5"; do node run.mjs ${each% *} "eventsource ${each#* }"; done
  node --no-warnings run.mjs undici "undici 7.30.2")
echo "$got"
expected='eventsource 2.0.2 position-1 position-2
eventsource 3.0.7 1 2
eventsource 4.1.0 1 2
eventsource 5.1.5 position-1 position-2
undici 7.30.2 position-1 position-2'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
