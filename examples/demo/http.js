// @ts-check

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {import('node:http').ServerResponse} Response */

const MAX_BODY_BYTES = 1_024;

/** What the client did wrong, and the status that says so. */
export class HttpError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * The URL of a request; throws for one that is none.
 *
 * @param {Request} request
 */
export function urlOf({ url }) {
  try {
    return new URL(`http://front${url}`);
  } catch {
    throw new HttpError(400, 'the address is malformed');
  }
}

/**
 * Other sites that are open in the same browser have no business here: its WebSockets would carry our
 * cookies, and its forms press our buttons.
 *
 * @param {Request} request
 */
export function isSameOrigin({ headers }) {
  return headers.origin === undefined || headers.origin.replace(/^https?:\/\//, '') === headers.host;
}

/**
 * The JSON that came with a request.
 *
 * @param {Request} request
 * @returns {Promise<Record<string, unknown>>}
 */
export async function readJson(request) {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MAX_BODY_BYTES) throw new HttpError(413, 'that is too much');
  }
  try {
    return Object(JSON.parse(text));
  } catch {
    throw new HttpError(400, 'the body must be JSON');
  }
}

/**
 * @param {Response} response
 * @param {number} status
 * @param {object} body
 */
export function sendJson(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body, null, 2)}\n`);
}
