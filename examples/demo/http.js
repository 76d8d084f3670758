// @ts-check

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {import('node:http').ServerResponse} Response */

const MAX_BODY_BYTES = 1_024;

/** An error that is answered with its status. */
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
 * Parses the URL of a request. @throws {HttpError} 400 for an invalid URL.
 *
 * @param {Request} request
 */
export function urlOf({ url }) {
  try {
    return new URL(`http://front${url}`);
  } catch {
    throw new HttpError(400, 'the URL is invalid');
  }
}

/**
 * True for requests from this page. Other sites in the same browser could open WebSockets that carry our cookies,
 * and send forms to our endpoints.
 *
 * @param {Request} request
 */
export function isSameOrigin({ headers }) {
  return headers.origin === undefined || headers.origin.replace(/^https?:\/\//, '') === headers.host;
}

/**
 * Reads the JSON body of a request.
 *
 * @param {Request} request
 * @returns {Promise<Record<string, unknown>>}
 */
export async function readJson(request) {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MAX_BODY_BYTES) throw new HttpError(413, 'the body is too large');
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
