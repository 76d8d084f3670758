#!/usr/bin/env bash
# sse.js delivers the beginning of an event whose end never came.
#
# Versions: sse.js 2.8.0, extended-eventsource 2.1.0, event-source-polyfill 1.0.31, launchdarkly-eventsource 2.2.0,
# eventsource-parser 4.1.3, fetch-event-stream 0.1.6, eventsource-client 1.2.0, undici 7.30.2, xmlhttprequest-ssl 4.0.0 (for sse.js,
# which wants an XMLHttpRequest); Node 20.20.
# An event ends with a blank line. The HTML standard says of a stream that ends before it: "Any pending data must be discarded." A
# server or proxy that is stopped in the middle of a write leaves such a stream. Of eight ways to read event streams in JavaScript one
# hands over the part that came: half a JSON text.
#
# Output seen:
#   sse.js whole {"half":
#   extended-eventsource whole
#   event-source-polyfill whole
#   launchdarkly-eventsource whole
#   eventsource-parser whole
#   fetch-event-stream whole
#   eventsource-client whole
#   undici whole
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund sse.js@2.8.0 extended-eventsource@2.1.0 event-source-polyfill@1.0.31 \
  launchdarkly-eventsource@2.2.0 eventsource-parser@4.1.3 fetch-event-stream@0.1.6 eventsource-client@1.2.0 undici@7.30.2 \
  xmlhttprequest-ssl@4.0.0
cat >run.mjs <<'JS'
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
const name = process.argv[2];
let requests = 0;
let ended;
const end = new Promise((resolve) => { ended = resolve; });
const server = http.createServer((_request, response) => {
  // A reconnect is left waiting.
  if (++requests > 1) return;
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write('id: 1\ndata: whole\n\nid: 2\ndata: {"half":', () => {
    setTimeout(() => response.end(ended), 200);
  });
});
await once(server.listen(0, '127.0.0.1'), 'listening');
const url = `http://127.0.0.1:${server.address().port}/`;
const received = [];
const listen = (source) => {
  source.onmessage = ({ data }) => received.push(data);
  source.onerror = () => {};
};
const readers = {
  'sse.js': async () => {
    globalThis.XMLHttpRequest = (await import('xmlhttprequest-ssl')).default.XMLHttpRequest;
    const { SSE } = await import('sse.js');
    listen(new SSE(url));
  },
  'extended-eventsource': async () => {
    // What browsers have and the package expects.
    globalThis.window = globalThis;
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    listen(new (await import('extended-eventsource')).EventSource(url, {}));
  },
  'event-source-polyfill': async () => listen(new (await import('event-source-polyfill')).default.EventSourcePolyfill(url, {})),
  'launchdarkly-eventsource': async () => listen(new (await import('launchdarkly-eventsource')).EventSource(url, {})),
  'eventsource-parser': async () => {
    const { EventSourceParserStream } = await import('eventsource-parser/stream');
    const { body } = await fetch(url);
    const events = body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
    for await (const { data } of events) received.push(data);
  },
  'fetch-event-stream': async () => {
    const { events } = await import('fetch-event-stream');
    for await (const { data } of events(await fetch(url))) received.push(data);
  },
  'eventsource-client': async () => {
    const { createEventSource } = await import('eventsource-client');
    createEventSource({ url, onMessage: ({ data }) => received.push(data) });
  },
  undici: async () => listen(new (await import('undici')).EventSource(url)),
};
await readers[name]();
await end;
await sleep(1_000);
console.log(name, received.join(' '));
process.exit();
JS
got=$(for name in sse.js extended-eventsource event-source-polyfill launchdarkly-eventsource eventsource-parser fetch-event-stream \
  eventsource-client undici; do timeout 20 node --no-warnings run.mjs "$name" 2>/dev/null; done)
echo "$got"
expected='sse.js whole {"half":
extended-eventsource whole
event-source-polyfill whole
launchdarkly-eventsource whole
eventsource-parser whole
fetch-event-stream whole
eventsource-client whole
undici whole'
[[ $got == "$expected" ]] || { echo 'the behaviour has changed' >&2; exit 1; }
