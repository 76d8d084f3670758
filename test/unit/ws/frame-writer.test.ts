import type { IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import { expect, test } from 'vitest';
import { WebSocketFrameEncoder } from '../../../src/ws/frame-encoder.js';
import { FrameWriter } from '../../../src/ws/frame-writer.js';
import type { ServerWebSocketLike } from '../../../src/ws/ws-types.js';

/** A TCP socket that records its writes. */
class FakeStream extends Duplex {
  readonly writes: number[] = [];
  override _read(): void {}
  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.writes.push(chunk.length);
    done();
  }
  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.writes.push(chunks.reduce((bytes, { chunk }) => bytes + chunk.length, 0));
    done();
  }
}

function fixture() {
  const stream = new FakeStream();
  const socket = { readyState: 1, _socket: stream };
  const request = { socket: stream } as unknown as IncomingMessage;
  const encoder = new WebSocketFrameEncoder();
  const writer = FrameWriter.create(socket as unknown as ServerWebSocketLike, request, encoder);
  return { stream, socket, request, encoder, writer: writer as FrameWriter };
}

const tick = () => new Promise((resolve) => process.nextTick(resolve));

test('frames of one tick are sent in one write, and count as buffered bytes until then', async () => {
  const { stream, writer } = fixture();
  for (let count = 0; count < 20; count++) writer.send(Buffer.alloc(100));
  expect(writer.bufferedAmount).toBe(2_000);
  expect(stream.writes).toEqual([]);
  await tick();
  expect(stream.writes).toEqual([2_000]);
  expect(writer.bufferedAmount).toBe(0);
});

test('many bytes of one tick are sent in one write without a copy', async () => {
  const { stream, writer } = fixture();
  for (let count = 0; count < 5; count++) writer.send(Buffer.alloc(50_000));
  await tick();
  expect(stream.writes).toEqual([250_000]);
});

test('flush writes at once, in order', async () => {
  const { stream, writer } = fixture();
  writer.send(Buffer.alloc(1));
  writer.flush();
  writer.send(Buffer.alloc(2));
  expect(stream.writes).toEqual([1]);
  await tick();
  expect(stream.writes).toEqual([1, 2]);
});

test.each(['a close frame of ws', 'the end of the stream'])('nothing is written after %s', async (end) => {
  const { stream, socket, writer } = fixture();
  writer.send(Buffer.alloc(1));
  if (end === 'the end of the stream') stream.destroy();
  else socket.readyState = 2;
  await tick();
  expect(stream.writes).toEqual([]);
});

test('a WebSocket that writes to another stream or hides its stream is used through its own send', () => {
  const { socket, request, encoder } = fixture();
  const others = [{ ...socket, _socket: new FakeStream() }, { readyState: 1 }];
  for (const other of others) {
    expect(FrameWriter.create(other as unknown as ServerWebSocketLike, request, encoder)).toBeUndefined();
  }
  const create = (given: unknown, own: WebSocketFrameEncoder | undefined) =>
    FrameWriter.create(socket as unknown as ServerWebSocketLike, given as IncomingMessage, own);
  expect(create(undefined, encoder)).toBeUndefined();
  expect(create(request, undefined)).toBeUndefined();
});
