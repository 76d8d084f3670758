// @ts-check
import { createHmac, timingSafeEqual } from 'node:crypto';

/** For how long a ticket lets its bearer in, in ms. Then the client fetches another, by itself. */
const VALID_FOR = 600_000;

/**
 * What the front gives out, and the nodes believe: a name, and until when, under a seal that only holders of
 * the secret can make. It may stand in a URL: browsers send no headers of ours with a WebSocket.
 *
 * @param {string} secret
 * @param {string} name
 */
export function issueTicket(secret, name) {
  const content = Buffer.from(JSON.stringify({ name, until: Date.now() + VALID_FOR })).toString('base64url');
  return `${content}.${seal(secret, content)}`;
}

/**
 * Whose ticket this is; `null` for one that is forged, or has run out.
 *
 * @param {string} secret
 * @param {string | null} ticket
 * @returns {{ name: string, until: number } | null}
 */
export function readTicket(secret, ticket) {
  const [content = '', given = ''] = (ticket ?? '').split('.');
  const right = Buffer.from(seal(secret, content));
  const sealed = Buffer.from(given);
  if (sealed.length !== right.length || !timingSafeEqual(sealed, right)) return null;
  const { name, until } = JSON.parse(Buffer.from(content, 'base64url').toString());
  return until > Date.now() ? { name, until } : null;
}

/**
 * @param {string} secret
 * @param {string} content
 */
function seal(secret, content) {
  return createHmac('sha256', secret).update(content).digest('base64url');
}
