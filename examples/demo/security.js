import { createHmac, timingSafeEqual } from 'node:crypto';

/** Validity of a ticket in ms. After that the client fetches another one by itself. */
const VALID_FOR = 600_000;

/**
 * True for requests from this page. Other sites in the same browser could open WebSockets that carry our cookies,
 * and send forms to our endpoints.
 */
export const isSameOrigin = ({ headers: { origin, host } }) =>
  origin === undefined || origin.replace(/^https?:\/\//, '') === host;

/**
 * A signed ticket with a name and an expiry time, which the nodes verify. It is passed in the URL, because browsers
 * cannot set headers on a WebSocket.
 */
export function issueTicket(secret, name) {
  const content = Buffer.from(JSON.stringify({ name, until: Date.now() + VALID_FOR })).toString('base64url');
  return `${content}.${sign(secret, content)}`;
}

/** The name and the expiry time of a ticket, or null if it is forged or expired. */
export function readTicket(secret, ticket) {
  const [content = '', signature = ''] = ticket.split('.');
  const expected = Buffer.from(sign(secret, content));
  const actual = Buffer.from(signature);
  if (actual.length !== expected.length || !timingSafeEqual(actual, expected)) return null;
  const { name, until } = JSON.parse(Buffer.from(content, 'base64url').toString());
  return until > Date.now() ? { name, until } : null;
}

const sign = (secret, content) => createHmac('sha256', secret).update(content).digest('base64url');
