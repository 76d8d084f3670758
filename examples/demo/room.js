// @ts-check
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { isRollcallError } from 'rollcall';
import { MAX_LISTED, MAX_NAME_LENGTH, STATUSES } from './settings.js';

/** @typedef {import('ws').WebSocket} WebSocket */
/** @typedef {{ socketId: string, name: string, alive: boolean }} Member */

/** How long changes are collected before the list is read again, so that a burst costs one read. */
const COLLECT = 50;
/** How often the list is read anyway: a socket reaped with its dead node changes no status. */
const REREAD_EVERY = 1_000;
/** How often browsers are asked whether they are still there: a lost phone says no goodbye. */
const PING_EVERY = 10_000;

class BadInput extends Error {}

/**
 * The WebSockets of one process, and what goes to and fro on them. Everything that is specific to
 * rollcall happens here: a socket that says hello is registered, its end is reported, and whatever
 * changes anywhere is told to everybody here.
 *
 * From the page: `{ type: 'hello', name }`, `{ type: 'status', status }`, `{ type: 'wave' }`.
 * To the page: `welcome`, `users`, `change`, `wave`, `nodes`, `error`.
 */
export class Room {
  /** @type {Map<WebSocket, Member>} */
  #members = new Map();
  /** The last list sent, as JSON. */
  #users = '';
  #stale = false;
  #reading = false;
  /** @type {NodeJS.Timeout[]} */
  #timers = [];
  #node;
  #presence;
  #pubsub;

  /**
   * @param {string | null} node the node that people join here; `null`: they can only watch
   * @param {import('rollcall').PresenceService} presence
   * @param {import('rollcall').PubSubService} pubsub
   */
  constructor(node, presence, pubsub) {
    this.#node = node;
    this.#presence = presence;
    this.#pubsub = pubsub;
  }

  async open() {
    // `onChange` tells of every change of a status, on whichever node. That a socket more or less
    // came or went is not a change of status; the nodes tell each other with a message of their own.
    await this.#presence.onChange((change) => {
      this.#sendAll({ type: 'change', ...change });
      this.#readSoon();
    });
    await this.#pubsub.subscribe('touched', () => this.#readSoon());
    await this.#pubsub.subscribe('wave', (from) => this.#sendAll({ type: 'wave', from }));
    await this.#pubsub.subscribe('nodes', (nodes) => this.#sendAll({ type: 'nodes', nodes }));
    this.#timers.push(
      setInterval(() => this.#readSoon(), REREAD_EVERY),
      setInterval(() => this.#ping(), PING_EVERY),
    );
    this.#readSoon();
  }

  /** Ends all connections without a word, as a crash does. */
  drop() {
    for (const timer of this.#timers) clearInterval(timer);
    for (const socket of this.#members.keys()) socket.terminate();
  }

  /** @param {WebSocket} socket */
  welcome(socket) {
    /** @type {Member} */
    const member = { socketId: randomUUID(), name: '', alive: true };
    this.#members.set(socket, member);
    socket.on('message', (data) => {
      this.#handle(socket, member, String(data)).catch((error) => {
        send(socket, { type: 'error', message: explain(error) });
      });
    });
    socket.on('pong', () => {
      member.alive = true;
    });
    // A broken frame or one too large: ws closes the connection by itself.
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#members.delete(socket);
      if (member.name !== '') this.#leave(member);
    });
    if (this.#users !== '') socket.send(this.#users);
  }

  /**
   * @param {WebSocket} socket
   * @param {Member} member
   * @param {string} text
   */
  async #handle(socket, member, text) {
    const message = parse(text);
    if (message.type === 'hello') {
      await this.#join(socket, member, message.name);
    } else if (member.name === '') {
      throw new BadInput('say hello first');
    } else if (message.type === 'status') {
      if (!STATUSES.includes(message.status))
        throw new BadInput(`status must be one of ${STATUSES.join(', ')}`);
      // A known socket is updated.
      await this.#presence.setPresence(member.name, member.socketId, message.status, { node: this.#node });
      this.#touched();
    } else if (message.type === 'wave') {
      await this.#pubsub.publish('wave', member.name);
    } else {
      throw new BadInput('type must be hello, status or wave');
    }
  }

  /**
   * @param {WebSocket} socket
   * @param {Member} member
   * @param {unknown} wanted
   */
  async #join(socket, member, wanted) {
    if (this.#node === null) throw new BadInput('connect to a node to join');
    if (member.name !== '') throw new BadInput('you have joined already');
    const name = typeof wanted === 'string' ? wanted.trim() : '';
    if (name === '' || [...name].length > MAX_NAME_LENGTH) {
      throw new BadInput(`name must be 1 to ${MAX_NAME_LENGTH} characters long`);
    }
    // Known from now on: should the tab close meanwhile, its socket is removed after this call.
    member.name = name;
    try {
      await this.#presence.setPresence(name, member.socketId, 'online', { node: this.#node });
    } catch (error) {
      member.name = '';
      throw error;
    }
    send(socket, { type: 'welcome', name, node: this.#node });
    this.#touched();
  }

  /** @param {Member} member */
  #leave({ name, socketId }) {
    this.#presence.removeSocket(name, socketId).then(
      () => this.#touched(),
      // Nothing to do: rollcall makes up for it as soon as Redis is back.
      () => {},
    );
  }

  /** Tells all nodes to read the list again. A message that is lost costs a second. */
  #touched() {
    this.#pubsub.publish('touched', this.#node).catch(() => {});
  }

  async #readSoon() {
    this.#stale = true;
    if (this.#reading) return;
    this.#reading = true;
    while (this.#stale) {
      await pause(COLLECT);
      this.#stale = false;
      // With Redis away the page keeps what it has, and the next tick tries again.
      await this.#read().catch(() => {});
    }
    this.#reading = false;
  }

  async #read() {
    const names = [];
    for await (const name of this.#presence.onlineUsers({ pageSize: MAX_LISTED })) {
      if (names.push(name) === MAX_LISTED) break;
    }
    const found = await this.#presence.getMultiplePresence(names.sort());
    const users = [...found.values()].map(({ userId, status, sockets }) => ({
      name: userId,
      status,
      // A user without sockets is within his grace: he may come back before anybody notices.
      sockets: sockets.map((socket) => ({ node: Object(socket.meta).node, status: socket.status })),
    }));
    const frame = JSON.stringify({ type: 'users', users, online: await this.#presence.onlineCount() });
    if (frame === this.#users) return;
    this.#users = frame;
    for (const socket of this.#members.keys()) socket.send(frame);
  }

  /** @param {object} message */
  #sendAll(message) {
    const frame = JSON.stringify(message);
    for (const socket of this.#members.keys()) socket.send(frame);
  }

  #ping() {
    for (const [socket, member] of this.#members) {
      if (!member.alive) socket.terminate();
      member.alive = false;
      socket.ping();
    }
  }
}

/**
 * @param {string} text
 * @returns {Record<string, any>}
 */
function parse(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    throw new BadInput('messages must be JSON');
  }
}

/**
 * @param {WebSocket} socket
 * @param {object} message
 */
function send(socket, message) {
  socket.send(JSON.stringify(message));
}

/** @param {unknown} error */
function explain(error) {
  return error instanceof BadInput || isRollcallError(error) ? error.message : 'something went wrong';
}
