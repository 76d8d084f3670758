// @ts-check
// The clients of the connections run: they connect, join rooms, count messages, and come back where they left off.
import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { countMessage, expectMessages, receivedMessages, someAtOnce } from './arrivals.js';

/** @type {(() => void)[]} */
let closers = [];
/** Positions by user and room, for kinds that recover. @type {Map<string, string>} */
const positions = new Map();

/**
 * @typedef {object} JoinRequest
 * @property {'join'} do
 * @property {string} kind
 * @property {number} port
 * @property {number} count connections
 * @property {number} rooms that each joins
 * @property {number} spread rooms there are
 * @property {boolean} deflate
 * @property {number} events that arrive before the answer
 */

/**
 * @param {JoinRequest} request
 * @param {number} n
 */
function join({ kind, port, rooms, spread, deflate }, n) {
  const socketIo = kind === 'socket.io';
  const user = `user-${n}`;
  const names = Array.from({ length: rooms }, (_, at) => `room-${(n + at) % spread}`);
  const path = socketIo ? 'socket.io/?EIO=4&transport=websocket' : `?user=${user}`;
  const socket = new WebSocket(`ws://127.0.0.1:${port}/${path}`, { perMessageDeflate: deflate });
  closers.push(() => socket.terminate());
  return new Promise((resolve, reject) => {
    let joined = 0;
    const confirm = () => {
      if (++joined === rooms) resolve(undefined);
    };
    const joinRooms = () =>
      names.forEach((room, id) => {
        const since = positions.get(`${user} ${room}`);
        const frame = { type: 'join', id, room, ...(since === undefined ? {} : { since }) };
        socket.send(socketIo ? `42${id}["join","${room}"]` : JSON.stringify(frame));
      });
    socket.on('error', reject);
    socket.on('message', (/** @type {Buffer} */ data) => {
      const begin = data.toString('latin1', 0, 13);
      if (begin.startsWith('42') || begin === '{"type":"even') {
        if (kind === 'rollcall') notePosition(user, data);
        return countMessage();
      }
      // Engine.IO: 0 open, 2 ping, 40 connected, 43 an acknowledgement.
      if (begin.startsWith('43')) confirm();
      else if (begin.startsWith('40') || begin === '{"type":"welc') joinRooms();
      else if (begin.startsWith('0')) socket.send('40');
      else if (begin === '2') socket.send('3');
      else if (begin === '{"type":"ok",') {
        if (kind === 'rollcall') notePosition(user, data, names);
        confirm();
      } else if (begin === '{"type":"erro') reject(new Error(data.toString()));
    });
  });
}

/**
 * @param {string} user
 * @param {Buffer} data
 * @param {string[]} [names] of rooms, by the id of the request that is answered
 */
function notePosition(user, data, names) {
  const frame = JSON.parse(data.toString());
  const position = names === undefined ? frame.position : frame.data?.position;
  const room = names === undefined ? frame.room : names[frame.id];
  if (position !== undefined) positions.set(`${user} ${room}`, position);
}

/** @param {JoinRequest} request */
function openStream({ port }) {
  return new Promise((resolve, reject) => {
    const request = get({ port, host: '127.0.0.1', agent: false }, (response) => {
      response.on('error', () => {});
      response.setEncoding('latin1');
      response.on('data', (/** @type {string} */ text) => {
        for (const name of text.match(/^event: .+$/gm) ?? []) {
          if (name === 'event: $ready') resolve(undefined);
          else countMessage();
        }
      });
    });
    request.on('error', reject);
    closers.push(() => request.destroy());
  });
}

/** @typedef {JoinRequest | { do: 'expect', count: number } | { do: 'leave' }} LoadRequest */

process.on('message', async (/** @type {LoadRequest} */ request) => {
  if (request.do === 'join') {
    expectMessages();
    await someAtOnce(request.count, (n) =>
      request.kind.endsWith('sse') ? openStream(request) : join(request, n),
    );
    while (receivedMessages() < request.events) await sleep(1);
    process.send?.({ joined: request.count });
  } else if (request.do === 'leave') {
    for (const close of closers) close();
    closers = [];
    process.send?.({ left: true });
  } else {
    expectMessages(request.count);
    process.send?.({ ready: true });
  }
});
process.on('disconnect', () => process.exit());
