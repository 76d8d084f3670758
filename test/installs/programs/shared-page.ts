// A page whose connection is in a shared worker. Its own WebSocket fails, so that only the worker's can reach the server. The
// query names the server.
import { connect } from 'rollcall/client';
import { sharedWebSocket } from 'rollcall/shared-worker';

async function main(server: string | null): Promise<string> {
  Object.assign(globalThis, {
    WebSocket: class {
      constructor() {
        throw new Error('the page has opened a connection of its own');
      }
    },
  });
  const worker = () => new SharedWorker(new URL('./tabs-worker.ts', import.meta.url), { type: 'module' });
  const WebSocket = sharedWebSocket(worker, { identity: 'ada' });
  if (WebSocket === undefined) throw new Error('no SharedWorker here');
  const client = connect({ url: `${server}/ws`, WebSocket });
  const failed = new Promise<never>((_, reject) => {
    client.on('reconnecting', ({ reason }) => reject(new Error(reason)));
  });
  const room = client.join('lobby');
  const received = new Promise((resolve) => room.on('hello', resolve));
  await Promise.race([room.ready, failed]);
  await room.send('hello', 'you');
  await received;
  client.close();
  return 'a connection in the shared worker';
}

main(new URLSearchParams(window.location.search).get('server')).then(
  (result) => {
    document.title = `ok: ${result}`;
  },
  (error: unknown) => {
    document.title = `failed: ${error}`;
  },
);
