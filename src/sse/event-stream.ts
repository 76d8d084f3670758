import { isClosed, NodeResponseWriter } from '../http/node-response-writer.js';
import type { NodeRequest, NodeResponse } from '../http/node-types.js';
import { WebResponseWriter } from '../http/web-response-writer.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { EventStreamConnection } from './event-stream-connection.js';
import type { EventStreamHandle, EventStreamOptions, EventStreamResponse, WebRequest } from './options.js';
import { type EventStreamSettings, resolveSettings } from './settings.js';

/**
 * Answers a Web-standard request with an event stream of channels, or of rooms in which the user is present while the
 * stream lasts. A client that reconnects with `Last-Event-ID`, as EventSource does, receives the messages it missed.
 * Authorize the request first.
 *
 * While Redis is unavailable, the stream ends with `$close`, and the client reconnects. The response is 200 even
 * then, because EventSource does not reconnect after another status.
 *
 * @example
 * ```ts
 * app.get('/events', (c) => eventStream(c.req.raw, { pubsub, channels: ['news'] }));
 * ```
 * @throws `InvalidArgumentError` for an invalid request or option.
 */
export function eventStream(request: WebRequest, options: EventStreamOptions): EventStreamResponse {
  if (typeof request?.headers?.get !== 'function') {
    throw new InvalidArgumentError(
      'request',
      'must be a Request; for a request of node:http call pipeEventStream',
    );
  }
  const settings = resolveSettings(
    options,
    readLastEventId(request.headers.get('last-event-id'), request.url),
  );
  const headers = new Headers();
  for (const [name, value] of Object.entries(settings.headers)) {
    for (const each of typeof value === 'string' ? [value] : value) headers.append(name, each);
  }
  if (request.method === 'HEAD') return createResponse(null, headers, closedHandle);
  const writer = new WebResponseWriter(settings.clock, request);
  return createResponse(
    writer.body as ReadableStream<Uint8Array>,
    headers,
    new EventStreamConnection(writer, settings),
  );
}

/**
 * Like {@link eventStream}, for `node:http` and `node:http2`: Express's `req` and `res`, Fastify's
 * `request.raw` and `reply.raw` after `reply.hijack()`. Sends headers that are set already.
 *
 * @example
 * ```ts
 * app.get('/events', (req, res) => {
 *   pipeEventStream(req, res, { rooms, user: { userId: req.user.id }, join: ['lobby'] });
 * });
 * ```
 * @throws `InvalidArgumentError` for an invalid option, or a response whose headers were sent.
 */
export function pipeEventStream(
  request: NodeRequest,
  response: NodeResponse,
  options: EventStreamOptions,
): EventStreamHandle {
  if (typeof request?.headers !== 'object') {
    throw new InvalidArgumentError('request', 'must be a request of node:http');
  }
  if (typeof response?.writeHead !== 'function') {
    throw new InvalidArgumentError('response', 'must be a response of node:http');
  }
  if (response.headersSent) throw new InvalidArgumentError('response', 'has sent its headers already');
  const header = request.headers['last-event-id'];
  const settings = resolveSettings(
    options,
    readLastEventId(Array.isArray(header) ? header[0] : header, request.url),
  );
  writeHeaders(request, response, settings);
  if (request.method !== 'HEAD')
    return new EventStreamConnection(new NodeResponseWriter(request, response, settings.clock), settings);
  response.end();
  return closedHandle;
}

/** For a response to HEAD, which has no stream. */
const closedHandle: EventStreamHandle = {
  closed: Promise.resolve({ code: 1000, reason: '' }),
  close: () => closedHandle.closed,
};

function writeHeaders(
  request: NodeRequest,
  response: NodeResponse,
  { headers }: Pick<EventStreamSettings, 'headers'>,
): void {
  // The client may have disconnected before this call.
  if (isClosed(request, response)) return;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  // HTTP/2 forbids this header.
  if (request.httpVersionMajor < 2) response.setHeader('connection', 'keep-alive');
  response.writeHead(200);
}

function createResponse(
  body: ReadableStream<Uint8Array> | null,
  headers: Headers,
  events: EventStreamHandle,
): EventStreamResponse {
  return Object.assign(new Response(body, { headers }), { events });
}

/** The header wins: EventSource sends the newest id there; its URL stays the same. */
function readLastEventId(header: string | null | undefined, url: string | undefined): string | undefined {
  if (typeof header === 'string' && header !== '') return header;
  const query = url?.indexOf('?') ?? -1;
  if (query < 0) return undefined;
  return new URLSearchParams(url?.slice(query + 1).replace(/#.*$/, '')).get('lastEventId') ?? undefined;
}
