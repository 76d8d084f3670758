import { SUBPROTOCOL } from '../protocol/frames.js';
import type { HandshakeRequest } from './options.js';
import { readHeader } from './read-request.js';

/** HTTP response that rejects a handshake. `new Response(rejection.text, rejection)` makes a `Response` of it. */
export interface HandshakeRejection {
  /** Status code. */
  readonly status: number;
  /** Status text, also for the body. */
  readonly text: string;
  /** Headers of the response. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Result of `upgrade`: what the transport answers a handshake. Pass it to `open`. */
export interface Handshake<R extends HandshakeRequest = Request> {
  /** The request. */
  readonly request: R;
  /** The subprotocol to select; `undefined`: select none. */
  readonly protocol?: string | undefined;
  /** `Sec-WebSocket-Protocol`, if one is selected, for transports that take the headers of the response. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Send this response instead of upgrading the connection. */
  readonly rejection?: HandshakeRejection | undefined;
}

/** Selects the subprotocol by name, because offered names may also carry a token. */
export function selectSubprotocol(request: HandshakeRequest): string | undefined {
  const names = String(readHeader(request, 'sec-websocket-protocol') ?? '').split(',');
  return names.some((each) => each.trim() === SUBPROTOCOL) ? SUBPROTOCOL : undefined;
}
