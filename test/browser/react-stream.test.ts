import type { IncomingMessage, ServerResponse } from 'node:http';
import type { EventStreamView } from 'rollcall/react';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { waitFor } from '../support/wait.js';
import { type ReactFixture, ReactTab, startFixture } from './react-fixture.js';

// `useEventStream` in the browser.

interface Stream {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  closed: boolean;
}

describe.each([
  [19, 'development'],
  [18, 'production'],
] as const)('React %i, %s build', (react, mode) => {
  let fixture: ReactFixture;
  let tab: ReactTab;
  let streams: Stream[];

  beforeAll(async () => {
    fixture = await startFixture(react, 'embedded', mode);
  });
  afterAll(() => fixture?.end());
  beforeEach(async () => {
    streams = [];
    fixture.answer = (request, response) => {
      const stream = { request, response, closed: false };
      response.on('close', () => {
        stream.closed = true;
      });
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('retry: 20\n\n');
      streams.push(stream);
    };
    tab = await ReactTab.open(fixture, 'alice');
  });
  afterEach(async () => {
    await tab.tab.close();
    expect(tab.problems).toEqual([]);
  });

  const write = (at: number, event: string, from: number, to: number) => {
    for (let n = from; n < to; n++) {
      streams[at]?.response.write(`${event ? `event: ${event}\n` : ''}id: ${n}\ndata: {"n":${n}}\n\n`);
    }
  };

  const shows = (state: string, numbers: string) =>
    tab.until(
      `${state}: ${numbers}`,
      ({ views }, want) => {
        const { state, events } = (views.get('s') ?? { events: [] }) as EventStreamView<{ n: number }>;
        return `${state}: ${events.map(({ data }) => data.n)}` === want;
      },
      `${state}: ${numbers}`,
    );

  const connected = (count: number) =>
    waitFor(() => streams.length === count, { message: `${count} streams` });

  test('lists the requested events, resumes automatically, and closes when the component unmounts', async () => {
    await tab.show({
      id: 's',
      hook: 'stream',
      url: '/x',
      options: { events: ['reading', 'message'], limit: 4 },
    });
    await connected(1);
    write(0, 'reading', 0, 1);
    write(0, 'noise', 100, 101);
    write(0, '', 1, 3);
    await shows('open', '0,1,2');
    const view = await tab.see((page) => page.views.get('s') as EventStreamView);
    expect(view.events.map(({ event, id }) => `${event} ${id}`)).toEqual([
      'reading 0',
      'message 1',
      'message 2',
    ]);
    expect(new Set(view.events.map(({ key }) => key)).size).toBe(3);

    streams[0]?.response.end();
    await connected(2);
    expect(streams[1]?.request.headers['last-event-id']).toBe('2');
    write(1, 'reading', 3, 6);
    await shows('open', '2,3,4,5');

    // Another list at each render is the same list; another URL is another stream.
    await tab.show({
      id: 's',
      hook: 'stream',
      url: '/x',
      options: { events: ['message', 'reading'], limit: 4 },
    });
    await tab.show({ id: 's', hook: 'stream', url: '/x2', options: { events: ['reading'], limit: 4 } });
    await connected(3);
    expect(streams[2]?.request.headers['last-event-id']).toBeUndefined();
    await waitFor(() => streams[1]?.closed);
    write(2, 'reading', 7, 8);
    await shows('open', '7');
    await tab.show({ id: 's', hook: 'stream', url: null });
    await shows('idle', '');
    await waitFor(() => streams[2]?.closed);
    await tab.show({ id: 's', hook: 'stream', url: '/x3' });
    await connected(4);
    await tab.show();
    await waitFor(() => streams[3]?.closed);
  });

  test('a $close without a reconnect ends the stream, another $close does not', async () => {
    await tab.show({ id: 's', hook: 'stream', url: '/x' });
    const close = (at: number, code: number) =>
      streams[at]?.response.end(`event: $close\ndata: {"code":${code},"reason":"","again":true}\n\n`);
    await connected(1);
    close(0, 1012);
    await connected(2);
    write(1, '', 1, 2);
    await shows('open', '1');
    close(1, 4403);
    await shows('closed', '1');
    await tab.show({ id: 's', hook: 'stream', url: '/x' }, { id: 's2', hook: 'stream', url: '/x4' });
    await connected(3);
    expect(streams[2]?.request.url).toBe('/x4');
  });

  test('a response that is no event stream ends the stream', async () => {
    fixture.answer = (_, response) => void response.writeHead(204).end();
    await tab.show({ id: 's', hook: 'stream', url: '/x' });
    await shows('closed', '');
  });

  /** Chromium logs each failed request. */
  const expectFailedRequests = (count: number) => {
    const logged = tab.problems.splice(0);
    expect(logged.filter((text) => text.startsWith('Failed to load resource')).length).toBe(count);
    expect(logged.length).toBe(count);
  };

  test('resumes after a 502, and after a new token in the URL if streamKey is the same', async () => {
    const serve = fixture.answer;
    const options = { streamKey: 'readings' };
    await tab.show({ id: 's', hook: 'stream', url: '/x?token=1', options });
    await connected(1);
    write(0, '', 0, 2);
    await shows('open', '0,1');
    let refused = 0;
    fixture.answer = (_, response) => {
      refused++;
      response.writeHead(502).end();
    };
    await tab.show({ id: 's', hook: 'stream', url: '/x?token=2', options });
    streams[0]?.response.destroy();
    await waitFor(() => refused > 0, { message: 'a 502' });
    fixture.answer = serve;
    await connected(2);
    expect(streams[1]?.request.url).toBe('/x?token=2');
    expect(streams[1]?.request.headers['last-event-id']).toBe('1');
    streams[1]?.response.write(':replayed\nid: 2\ndata: {"n":2}\n\n');
    write(1, '', 3, 4);
    await shows('open', '0,1,2,3');
    const events = await tab.see(({ views }) => (views.get('s') as EventStreamView).events);
    expect(events.map(({ replayed }) => replayed)).toEqual([false, false, true, false]);
    // The broken response, and each 502.
    expectFailedRequests(1 + refused);
  });

  test('sends headers; a 401 closes the stream and shows why', async () => {
    const headers: unknown[] = [];
    fixture.answer = (request, response) => {
      headers.push(request.headers.authorization);
      response.writeHead(401).end();
    };
    await tab.show({
      id: 's',
      hook: 'stream',
      url: '/x',
      options: { headers: { authorization: 'Bearer a' } },
    });
    await shows('closed', '');
    // The token may have expired on its way: the function or prop is asked once more.
    expect(headers).toEqual(['Bearer a', 'Bearer a']);
    expect(await tab.see((page) => String((page.views.get('s') as EventStreamView).error))).toContain(
      'HTTP status 401',
    );
    expectFailedRequests(2);
  });

  test('a closed stream goes on with a new token in the URL, or on demand; another limit keeps the list', async () => {
    const serve = fixture.answer;
    const show = (token: number, limit = 10) =>
      tab.show({
        id: 's',
        hook: 'stream',
        url: `/x?token=${token}`,
        options: { streamKey: 'readings', limit },
      });
    await show(1);
    await connected(1);
    write(0, '', 0, 3);
    await shows('open', '0,1,2');
    let refused = 0;
    fixture.answer = (_, response) => {
      refused++;
      response.writeHead(403).end();
    };
    streams[0]?.response.destroy();
    await shows('closed', '0,1,2');
    fixture.answer = serve;
    await show(2);
    await connected(2);
    expect(streams[1]?.request.url).toBe('/x?token=2');
    expect(streams[1]?.request.headers['last-event-id']).toBe('2');
    await shows('open', '0,1,2');
    expect(await tab.see(({ views }) => String((views.get('s') as EventStreamView).error))).toBe('undefined');
    await show(2, 2);
    write(1, '', 3, 4);
    await shows('open', '2,3');
    streams[1]?.response.end('event: $close\ndata: {"code":4403,"reason":"","again":false}\n\n');
    await shows('closed', '2,3');
    await tab.see(({ views }) => (views.get('s') as EventStreamView).retry());
    await connected(3);
    expect(streams[2]?.request.headers['last-event-id']).toBe('3');
    await shows('open', '2,3');
    // The broken response, and the 403.
    expectFailedRequests(1 + refused);
  });

  test('a page in the back/forward cache has no stream, and resumes when it is shown again', async () => {
    const serve = fixture.answer;
    fixture.answer = (request, response) => {
      if (request.url !== '/x-other') return serve(request, response);
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>other</title>');
    };
    await tab.show({ id: 's', hook: 'stream', url: '/x' });
    await connected(1);
    write(0, '', 0, 2);
    await shows('open', '0,1');
    // Only a page that was kept still has it.
    await tab.tab.evaluate('globalThis.kept = true');
    await tab.tab.goto(`${fixture.url}/x-other`);
    await waitFor(() => streams[0]?.closed);
    // `goBack` would wait for a load, which a kept page does not have.
    await tab.tab.evaluate('setTimeout(() => history.back())');
    const isBack = () => tab.tab.evaluate('globalThis.kept === true').catch(() => false);
    await waitFor(async () => (await isBack()) === true);
    await connected(2);
    expect(streams[1]?.request.headers['last-event-id']).toBe('1');
    write(1, '', 2, 3);
    await shows('open', '0,1,2');
  });

  test('a stream resumes on a new connection as soon as the browser is online again', async () => {
    await tab.show({ id: 's', hook: 'stream', url: '/x' });
    await connected(1);
    // Without the event, the next attempt would be 10 minutes away.
    streams[0]?.response.write('retry: 600000\n\n');
    write(0, '', 0, 2);
    await shows('open', '0,1');
    await tab.tab.context().setOffline(true);
    await tab.until('offline', () => !navigator.onLine);
    await tab.tab.context().setOffline(false);
    await connected(2);
    expect(streams[1]?.request.headers['last-event-id']).toBe('1');
    write(1, '', 2, 3);
    await shows('open', '0,1,2');
    await waitFor(() => streams[0]?.closed);
    // The client of the page may have tried in between.
    expect(tab.problems.splice(0).filter((text) => !text.includes('ERR_INTERNET_DISCONNECTED'))).toEqual([]);
  });
});
