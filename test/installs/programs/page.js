// A page that uses what bundlers must resolve: the client, the parts that it loads when needed, and the hooks. The page
// shows its result as the title. The query names the server.
import { createElement, useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { connect } from 'rollcall/client';
import { RollcallProvider, useConnection } from 'rollcall/react';

function State({ onOpen }) {
  const { state } = useConnection();
  useEffect(() => {
    if (state === 'open') onOpen();
  }, [state, onOpen]);
  return state;
}

async function main(server) {
  const client = connect({ url: `${server}/ws` });
  const room = client.join('lobby');
  const received = new Promise((resolve) => room.on('hello', resolve));
  const typing = new Promise((resolve) => room.onTypingUsers(resolve));
  await room.ready;

  // A network without WebSockets: the part for HTTP is loaded when it is needed.
  const behind = connect({ url: `${server}/blocked`, backoff: { first: 10, max: 50 } });
  const other = behind.join('lobby');
  await other.ready;
  await other.send('hello', 'you');
  await received;
  other.startTyping(); // loaded when needed, too
  await typing;

  const shown = new Promise((resolve) => {
    const element = document.body.appendChild(document.createElement('div'));
    const state = createElement(State, { onOpen: resolve });
    createRoot(element).render(createElement(RollcallProvider, { client }, state));
  });
  await shown;
  behind.close();
  client.close();
  return 'socket, HTTP, typing, hooks';
}

// Next.js runs the module on the server, too.
if (typeof window !== 'undefined') {
  main(new URLSearchParams(window.location.search).get('server')).then(
    (result) => {
      document.title = `ok: ${result}`;
    },
    (error) => {
      document.title = `failed: ${error}`;
    },
  );
}
