// node test/proxies/run.js, after npm run build: the configurations of docs/deployment.md for nginx and HAProxy, in front of
// two servers. WebSockets, an event stream and the HTTP fallback pass; idle WebSockets and streams outlive the timeouts of
// the proxy. NGINX_PROGRAM and HAPROXY_PROGRAM name the programs where they are not on the PATH. Takes two minutes; not a
// part of the test projects, because it needs both programs.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { createRollcall } from 'rollcall';
import { connect } from 'rollcall/client';
import { createHttpHandler } from 'rollcall/server';
import { pipeEventStream } from 'rollcall/sse';
import { createEmbeddedRedis } from 'rollcall/testing';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocket, WebSocketServer } from 'ws';

/** Longer than the 90 s of both configurations. */
const IDLE = 100_000;

const folder = mkdtempSync(join(tmpdir(), 'proxies-'));
const guide = readFileSync(new URL('../../docs/deployment.md', import.meta.url), 'utf8');
const redis = await createEmbeddedRedis();
const addresses = [];
const forwarded = new Set();

for (let n = 0; n < 2; n++) {
  const { rooms, pubsub } = createRollcall({ redis: redis.connect(), onError: console.error });
  const options = {
    rooms,
    onError: console.error,
    authenticate: ({ url, headers }) => {
      forwarded.add(headers['x-forwarded-for']);
      return new URL(url, 'http://localhost').searchParams.get('user');
    },
    authorize: () => true,
  };
  const http = createHttpHandler(options);
  const server = createServer((request, response) => {
    if (request.url === '/ready') response.end();
    else if (request.url !== '/ws/news') http.handle(request, response);
    else pipeEventStream(request, response, { pubsub, channels: ['news'] });
  });
  serveWebSocket(new WebSocketServer({ server }), options);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  addresses.push(`127.0.0.1:${server.address().port}`);
}
const { pubsub: publisher } = createRollcall({ redis: redis.connect() });

async function freePort() {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address();
  await once(server.close(), 'close');
  return port;
}

/** The block of the guide, with the addresses of the two servers. */
function configuration(language) {
  const [, text] = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(guide);
  return text.replaceAll('10.0.0.1:8080', addresses[0]).replaceAll('10.0.0.2:8080', addresses[1]);
}

const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  .map((name) => `${name}_temp_path ${folder}/${name};`)
  .join(' ');
const proxies = {
  nginx: (port) => {
    const file = join(folder, 'nginx.conf');
    const block = configuration('nginx').replace('listen 443 ssl', `listen 127.0.0.1:${port}`);
    const main = `daemon off; master_process off; pid ${folder}/pid; error_log stderr; events {}`;
    writeFileSync(file, `${main}\nhttp { access_log off; ${paths}\n${block}}\n`);
    return [process.env.NGINX_PROGRAM ?? 'nginx', '-c', file, '-p', folder];
  },
  haproxy: (port) => {
    const file = join(folder, 'haproxy.cfg');
    writeFileSync(file, configuration('haproxy').replace('bind :8080', `bind 127.0.0.1:${port}`));
    return [process.env.HAPROXY_PROGRAM ?? 'haproxy', '-db', '-f', file];
  },
};

async function listens(port) {
  for (;;) {
    const socket = connectTcp(port, '127.0.0.1');
    const connected = await Promise.race([once(socket, 'connect'), once(socket, 'close')]).then(
      () => !socket.destroyed,
      () => false,
    );
    socket.destroy();
    if (connected) return;
    await wait(50);
  }
}

/** Reads an event stream until `text` has come. */
async function readUntil(reader, text, read = '') {
  let all = read;
  while (!all.includes(text)) {
    const { value, done } = await reader.read();
    assert(!done, `the stream ended before ${text}`);
    all += Buffer.from(value);
  }
  return all;
}

async function check(name, command) {
  const port = await freePort();
  const [program, ...args] = command(port);
  const proxy = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  proxy.on('error', ({ message }) => {
    console.error(message);
    process.exit(1);
  });
  process.on('exit', () => proxy.kill()); // also after a failed assertion
  await listens(port);

  const clients = ['ann', 'bob'].map((user) =>
    connect({ url: `ws://127.0.0.1:${port}/ws?user=${user}`, WebSocket }),
  );
  const opened = clients.map(() => 0);
  for (const [at, client] of clients.entries()) client.on('open', () => opened[at]++);
  const [ann, bob] = clients.map((client) => client.join('lobby'));
  const received = new Promise((resolve) => bob.on('message', resolve));
  await Promise.all([ann.ready, bob.ready]);
  await ann.send('message', { text: 'hello' });
  assert.deepEqual(await received, { text: 'hello' });

  const stream = (await fetch(`http://127.0.0.1:${port}/ws/news`)).body.getReader();
  const start = await readUntil(stream, '$ready');
  const fallback = (await fetch(`http://127.0.0.1:${port}/ws?user=eve`)).body.getReader();
  await readUntil(fallback, 'welcome');
  await fallback.cancel(); // only clients keep it alive, by pings
  assert.deepEqual([...forwarded], ['127.0.0.1']);

  await wait(IDLE);
  assert.deepEqual(opened, [1, 1], 'no connection was cut');
  await publisher.publish('news', 'after the pause');
  await readUntil(stream, 'after the pause', start);
  console.log(`${name}: HTTP fallback; WebSockets and event stream also after ${IDLE / 1_000} s`);

  for (const client of clients) client.close();
  await stream.cancel();
  proxy.kill();
  await once(proxy, 'close');
}

await Promise.all(Object.entries(proxies).map(([name, command]) => check(name, command)));
rmSync(folder, { recursive: true });
process.exit();
