import type { PubSubService } from 'rollcall';
import { afterAll, expect, test, vi } from 'vitest';

// The signal that ends every stream exists as long as the process, so a stream must not leave listeners on it.

const waiting = new Map<AbortSignal, number>();

// Test files of a worker share their modules: this file loads its own copies and removes them at its end.
vi.resetModules();
vi.doMock('../../../src/internal/abort.js', async (original) => {
  const { onAbort } = await original<typeof import('../../../src/internal/abort.js')>();
  const counting: typeof onAbort = (signal, task) => {
    const forget = onAbort(signal, task);
    if (signal === undefined) return forget;
    const add = (change: number) => waiting.set(signal, (waiting.get(signal) ?? 0) + change);
    add(1);
    let forgotten = false;
    return () => {
      forget();
      if (!forgotten) add(-1);
      forgotten = true;
    };
  };
  return { onAbort: counting };
});
const { eventStream } = await import('rollcall/sse');

afterAll(() => {
  vi.doUnmock('../../../src/internal/abort.js');
  vi.resetModules();
});

test('a stream that has ended leaves no listener on either signal', async () => {
  const subscribe = async () => ({ position: undefined, unsubscribe: async () => {} });
  const pubsub = { subscribe } as unknown as PubSubService;
  const { signal } = new AbortController();
  const client = new AbortController();
  const request = new Request('http://host/', { signal: client.signal });
  const options = { pubsub, channels: ['news'], signal };
  const cancelled = eventStream(request, options);
  const closed = eventStream(request, options);
  const read = closed.text();
  expect(waiting.get(signal)).toBe(2);
  expect(waiting.get(request.signal)).toBe(2);
  await cancelled.body?.cancel();
  await closed.events.close();
  await read;
  expect(waiting.get(signal)).toBe(0);
  expect(waiting.get(request.signal)).toBe(0);
});
