import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'rollcall/client';
import { afterEach, expect, expectTypeOf, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { deferred, waitFor } from '../../support/wait.js';
import { WELCOME } from './harness.js';

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function listen(server: Server): Promise<string> {
  servers.push(server);
  const listening = deferred();
  server.listen(0, '127.0.0.1', () => listening.resolve());
  await listening.promise;
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/ws`;
}

test('the WebSocket of `ws` offers the subprotocol, sends requests and closes with 1000', async () => {
  const server = createServer();
  const wss = new WebSocketServer({ server, handleProtocols: (offered) => [...offered][0] ?? false });
  const codes: number[] = [];
  wss.on('connection', (socket) => {
    socket.send(JSON.stringify(WELCOME));
    socket.on('message', (text) => {
      const { id, data } = JSON.parse(String(text));
      socket.send(JSON.stringify({ type: 'ok', id, data }));
    });
    socket.on('close', (code) => codes.push(code));
  });
  const client = connect({ url: await listen(server), WebSocket });
  expect(await client.request('echo', { a: 1 })).toEqual({ a: 1 });
  client.close();
  await waitFor(() => codes.length === 1);
  expect(codes).toEqual([1000]);
  wss.close();
});

test('a refused handshake is reported with its reason, and closing during a handshake throws nothing', async () => {
  const server = createServer();
  server.on('upgrade', (_, socket) => socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n'));
  const client = connect({ url: await listen(server), WebSocket });
  const refused = deferred<string>();
  client.on('reconnecting', ({ reason }) => refused.resolve(reason));
  expect(await refused.promise).toContain('401');
  client.reconnect();
  await waitFor(() => client.state === 'connecting');
  // Closing a `ws` that has not connected yet makes it emit an error.
  client.close();
  expect(client.state).toBe('closed');
});

test('events have the types that the application declares', () => {
  interface Mine {
    invoice: { total: number };
  }
  interface Chat {
    message: { text: string };
    seen: string;
  }
  const check = () => {
    const client = connect<Mine>({ url: 'wss://chat.test', WebSocket });
    client.events.on('invoice', (data) => expectTypeOf(data).toEqualTypeOf<{ total: number }>());
    const room = client.join<Chat>('lobby');
    room.on('message', (data) => expectTypeOf(data).toEqualTypeOf<{ text: string }>());
    room.on('*', (data) => expectTypeOf(data).toEqualTypeOf<{ text: string } | string>());
    // @ts-expect-error: no such event
    room.on('other', () => {});
    // @ts-expect-error: not the payload of the event
    void room.send('message', 'text');
    void room.send('seen', 'p1');
    void client.join('untyped').send('anything', 7);
  };
  expect(check).toBeTypeOf('function');
});
