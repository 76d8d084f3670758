import type { RoomService } from 'rollcall';
import { type CrosswsPeer, serveCrossws } from 'rollcall/crossws';
import { expect, test } from 'vitest';
import type { Peer } from '../../../src/rooms/peer-writer.js';
import { FakeClock, turn } from '../../support/fake-clock.js';

// Peculiarities of the runtimes that crossws runs on.

/** As the base class of crossws: `ping` only warns. */
class BasePeer implements CrosswsPeer {
  readonly done: string[] = [];
  readonly frames: { type: string }[] = [];
  context: Record<string, unknown> = {};
  websocket: object = { readyState: 1 };
  readonly request = new Request('http://chat.test/?user=ann');
  bufferedAmount = 0;
  send(data: string): number {
    this.frames.push(JSON.parse(data));
    return 0;
  }
  close(code?: number): void {
    this.done.push(`close ${code}`);
  }
  ping(): void {
    this.done.push('warning: not supported');
  }
  terminate(): void {
    this.done.push('terminate');
  }
}

class DenoPeer extends BasePeer {
  override terminate(): void {
    throw new TypeError('terminate is not a function');
  }
}

class NodePeer extends BasePeer {
  override ping(data = ''): void {
    this.done.push(`ping ${data}`);
  }
}

function fixture(refuseWith: 'close' | 'status' = 'close') {
  const clock = new FakeClock();
  const errors: string[] = [];
  const attached: Peer[] = [];
  const rooms = {
    attach: async (peer: Peer) => {
      attached.push(peer);
      const close = (code: number, reason: string) => peer.close(code, reason);
      return {
        id: 's1',
        userId: 'ann',
        attached: true,
        rooms: [],
        serve: () => {},
        detach: async () => {},
        close,
      };
    },
    broadcastTyping: () => {},
  } as unknown as RoomService;
  const serving = serveCrossws({
    rooms,
    authenticate: ({ url }) => new URL(url).searchParams.get('user'),
    authorize: () => true,
    heartbeatInterval: 1_000,
    pongTimeout: 400,
    clock,
    refuseWith,
    onError: ({ message }) => errors.push(message),
  });
  return { clock, errors, attached, serving, hooks: serving.hooks };
}

const headers = { 'Sec-WebSocket-Protocol': 'rollcall.1' };

test('the handshake reaches open through the context, and is made up for if another hook drops it', async () => {
  const { hooks, serving } = fixture();
  const request = new Request('http://chat.test/?user=ann', { headers });
  const answer = await hooks.upgrade(request);
  expect(answer).toMatchObject({ headers });
  for (const context of [{ ...(answer as { context: object }).context }, {}]) {
    const peer = new NodePeer();
    peer.context = context;
    hooks.open(peer);
    await turn();
    expect(peer.frames).toMatchObject([{ type: 'welcome' }]);
  }
  expect(serving.stats().connections).toBe(2);
});

test('with refuseWith: status a refused handshake is answered with a response', async () => {
  const { hooks } = fixture('status');
  const answer = await hooks.upgrade(new Request('http://chat.test/', { headers }));
  expect(answer).toBeInstanceOf(Response);
  expect((answer as Response).status).toBe(401);
});

test('text is handled also where it arrives as bytes, and binary frames are refused', async () => {
  const { hooks } = fixture();
  const peer = new NodePeer();
  hooks.open(peer);
  await turn();
  const text = () => '{"type":"ping"}';
  for (const rawData of ['{"type":"ping"}', new ArrayBuffer(15), Buffer.from('{"type":"ping"}')]) {
    hooks.message(peer, { rawData, text });
  }
  await turn();
  expect(peer.frames.map(({ type }) => type)).toEqual(['welcome', 'pong', 'pong', 'error']);
});

test('an adapter without pings of its own gets none, and no list waits for their answers', async () => {
  const { hooks, clock, attached } = fixture();
  const [deno, node] = [new DenoPeer(), new NodePeer()];
  for (const peer of [deno, node]) hooks.open(peer);
  await turn();
  for (let at = 0; at < 13; at++) clock.advance(100);
  expect([deno.done, node.done]).toEqual([[], ['ping ']]);
  expect(attached.map(({ confirm }) => typeof confirm)).toEqual(['undefined', 'function']);
});

test('a peer that cannot be terminated is closed', async () => {
  const { hooks, clock, serving, errors } = fixture();
  const peer = new DenoPeer();
  hooks.open(peer);
  await turn();
  const closing = serving.close();
  await turn();
  clock.advance(5_000);
  await closing;
  expect(peer.done).toEqual(['close 1012', 'close undefined']);
  expect(errors).toEqual([]);
});

test('events of a connection that failed before it was open are ignored', () => {
  const { hooks, serving, errors } = fixture();
  const peer = new DenoPeer();
  hooks.error(peer);
  hooks.close(peer);
  hooks.pong(peer);
  expect([serving.stats().connections, errors]).toEqual([0, []]);
});

test('a WebSocket behind a proxy that refuses pause and resume is still served', async () => {
  const { hooks, errors, serving } = fixture();
  const peer = new NodePeer();
  const refuse = () => {
    throw new TypeError('this is a proxy');
  };
  peer.websocket = { readyState: 1, pause: refuse, resume: refuse };
  hooks.open(peer);
  await turn();
  for (let at = 0; at < 100; at++) hooks.message(peer, { rawData: '{"type":"ping"}', text: () => '' });
  await turn();
  expect(peer.frames).toHaveLength(101);
  void serving.close();
  await turn();
  expect([peer.done, errors]).toEqual([['close 1012'], []]);
});
