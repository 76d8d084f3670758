// A React Native application without the device: React Native's own URL class, and Metro's bundle of the client, on Node.
// React Native has no `window.document` and no page events.
import './set-url.js';
import { createElement } from 'react';
import { connect } from 'rollcall/client';
import { RollcallProvider, useConnection } from 'rollcall/react';

export { createElement, RollcallProvider, useConnection };

async function main() {
  const server = globalThis.rollcallServer;
  const url = new URL(`${server}/ws`);
  if (!('_url' in url)) throw new Error("not React Native's URL");
  const problems = [];
  url.searchParams.set('token', 'a b');
  if (url.href !== `${server}/ws?token=a+b` && url.href !== `${server}/ws?token=a%20b`)
    problems.push(`searchParams: ${url.href}`);
  const assignable = ['search', 'hash', 'pathname', 'protocol', 'host', 'href'].filter((name) => {
    try {
      const copy = new URL(`${server}/ws`);
      // Without strict mode, an assignment to a property that has no setter is ignored.
      copy[name] = 'x';
      return copy.href !== `${server}/ws`;
    } catch {
      return false;
    }
  });
  if (problems.length > 0) throw new Error(problems.join());
  // A function of the application that builds its URL with this class, and the class of WebSocket passed.
  const client = connect({
    url: () => {
      const address = new URL(`${server}/ws`);
      address.searchParams.set('token', 'abc');
      return address.href;
    },
    WebSocket: globalThis.WebSocket,
  });
  const room = client.join('lobby');
  const received = new Promise((resolve) => room.on('hello', resolve));
  await room.ready;
  await room.send('hello', 'you');
  await received;
  room.startTyping(); // loaded when needed
  // What an application does when AppState becomes `active`: a dead connection is noticed, a live one stays.
  const before = client.socket;
  client.wake();
  await room.send('hello', 'again');
  if (client.socket !== before) throw new Error('wake() replaced a live connection');
  client.close();
  return `socket, typing, wake; setters of URL: ${assignable.join(', ')}`;
}

main().then(globalThis.rollcallDone, globalThis.rollcallFailed);
