import { createElement, type FunctionComponent, type ReactNode } from 'react';
import { renderToString } from 'react-dom/server';
import { type Client, connect } from 'rollcall/client';
import {
  RollcallProvider,
  useConnection,
  useEventStream,
  usePresence,
  useRollcall,
  useRoom,
  useRoomEvent,
  useTyping,
  useUserEvent,
} from 'rollcall/react';
import { describe, expect, test, vi } from 'vitest';

// Rendering on a server: everything is as it begins, and nothing is connected.

function Chat(): ReactNode {
  const { state, events, members, hasOlder } = useRoom('lobby', { last: 10, members: true });
  const { typingUsers } = useTyping('lobby');
  const presence = usePresence(['ann']);
  const connection = useConnection();
  const stream = useEventStream('/events');
  useRoomEvent('lobby', '*', () => {});
  useUserEvent('*', () => {});
  return JSON.stringify([
    state,
    events,
    [...members],
    hasOlder,
    typingUsers,
    [...presence],
    connection.state,
    stream,
  ]);
}

const Needy = () => useRollcall().state;

/** Uses a hook. */
function Using({ use }: { use: () => unknown }): ReactNode {
  use();
  return null;
}

function render<P extends object>(client: Client | null, component: FunctionComponent<P>, props?: P): string {
  return renderToString(createElement(RollcallProvider, { client }, createElement(component, props)));
}

const text = (html: string) => html.replaceAll('&quot;', '"');
const BEGINNING = ['joining', [], [], false, [], [], 'connecting', { state: 'connecting', events: [] }];

describe('renderToString', () => {
  test.each(['null', 'a client'])('with %s as client', async (kind) => {
    const errors = vi.spyOn(console, 'error');
    const opened: string[] = [];
    class WebSocket {
      constructor(url: string) {
        opened.push(url);
      }
      addEventListener() {}
      send() {}
      close() {}
    }
    let client: Client | null = null;
    if (kind !== 'null') {
      client = connect({ url: 'ws://127.0.0.1:1', WebSocket });
      client.close();
    }
    const html = render(client, Chat);
    expect(JSON.parse(text(html))).toEqual(BEGINNING);
    await new Promise((resolve) => setTimeout(resolve));
    expect(opened).toEqual([]);
    expect(errors).not.toHaveBeenCalled();
    errors.mockRestore();
  });

  test('without a provider the hooks throw an error that names the provider', () => {
    expect(() => renderToString(createElement(Chat))).toThrow('RollcallProvider');
  });

  test('useRollcall throws an error that says that there is no client', () => {
    expect(() => render(null, Needy)).toThrow('is null here');
  });

  test.each([
    { what: 'an empty name', use: () => useRoom(''), says: 'room' },
    { what: 'a limit of none', use: () => useRoom('a', { limit: 0 }), says: 'limit' },
    { what: 'events as a text', use: () => useRoom('a', { events: 'message' as never }), says: 'events' },
    { what: 'users as a text', use: () => usePresence('ann'), says: 'userIds' },
    { what: 'info that is no JSON', use: () => useRoom('a', { info: 1n }), says: 'info' },
    { what: 'a stream with a limit of none', use: () => useEventStream('/', { limit: 0.5 }), says: 'limit' },
  ])('$what is an error', ({ use, says }) => {
    expect(() => render(null, Using, { use })).toThrow(says);
  });
});
