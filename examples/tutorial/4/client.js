// @ts-check
import { connect } from 'rollcall/client';
import { WebSocket } from 'ws';

/** @typedef {{ message: { text: string } }} Chat */

/**
 * A client outside of browsers: Node's WebSocket sends no cookie, so a class of the package ws does.
 *
 * @param {string | (() => string)} url of a server, http://…
 * @param {string} cookie
 */
export function connectWithCookie(url, cookie) {
  class WithCookie extends WebSocket {
    /**
     * @param {string | URL} address
     * @param {string | string[]} [protocols]
     */
    constructor(address, protocols) {
      const origin = `http://${new URL(address).host}`;
      super(address, protocols, { origin, headers: { cookie } });
    }
  }
  const current = typeof url === 'function' ? url : () => url;
  return connect({
    url: () => `${current().replace('http', 'ws')}/ws`,
    WebSocket: /** @type {any} */ (WithCookie),
    backoff: { first: 100 },
  });
}

/**
 * Follows a room, and stores the position of the last message that was handled. After a restart of the program,
 * `since` continues behind it.
 *
 * @param {ReturnType<typeof connectWithCookie>} client
 * @param {{ since?: string, onMessage: (text: string, position: string) => void, onGap: () => void }} options
 */
export function follow(client, { since, onMessage, onGap }) {
  const room = /** @type {import('rollcall/client').Room<Chat>} */ (
    client.join('lobby', since === undefined ? {} : { since })
  );
  room.on('message', ({ text }, { position }) => onMessage(text, position ?? ''));
  // Only if the history was too short, or Redis has lost it: read your state again.
  room.onDiscontinuity(({ recovered }) => {
    if (!recovered) onGap();
  });
  return room;
}
