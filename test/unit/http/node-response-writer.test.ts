import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { NodeResponseWriter } from '../../../src/http/node-response-writer.js';
import { FakeClock, turn } from '../../support/fake-clock.js';

class FakeResponse extends EventEmitter {
  headersSent = true;
  writableLength = 0;
  readonly calls: string[] = [];
  setHeader() {}
  writeHead() {}
  write(bytes: Uint8Array) {
    this.calls.push(Buffer.from(bytes).toString());
    return true;
  }
  end() {
    this.calls.push('(end)');
  }
  destroy() {
    this.calls.push('(destroy)');
  }
}

function fixture() {
  const response = new FakeResponse();
  const writer = new NodeResponseWriter({ headers: {}, httpVersionMajor: 1 }, response, new FakeClock());
  return { response, writer };
}

test('the beginning is written with the data that follows in the same turn, after awaits too', async () => {
  const { response, writer } = fixture();
  writer.begin('a');
  expect([response.calls, writer.buffered]).toEqual([[], 1]);
  for (let n = 0; n < 20; n++) await undefined;
  writer.write(Buffer.from('b'));
  writer.write('c');
  await turn();
  expect([response.calls, writer.buffered]).toEqual([['ab', 'c'], 0]);
});

test('the beginning is written alone at the end of the turn', async () => {
  const { response, writer } = fixture();
  writer.begin('a');
  await new Promise((resolve) => setImmediate(resolve));
  expect(response.calls).toEqual(['a']);
});

test('the beginning precedes the end, and a destroyed response does not get it', async () => {
  const ended = fixture();
  ended.writer.begin('a');
  ended.writer.end();
  const destroyed = fixture();
  destroyed.writer.begin('a');
  destroyed.writer.destroy();
  const closed = fixture();
  closed.writer.onClose(() => {});
  closed.writer.begin('a');
  closed.response.emit('close');
  await turn();
  expect(ended.response.calls).toEqual(['a', '(end)']);
  expect(destroyed.response.calls).toEqual(['(destroy)']);
  expect(closed.response.calls).toEqual([]);
});
