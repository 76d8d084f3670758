import type { IncomingMessage } from 'node:http';
import { SUBPROTOCOL } from '../protocol/frames.js';
import type { WebSocketServerLike } from './ws-types.js';

/** How a handshake is refused over HTTP. */
export interface HandshakeRejection {
  readonly status: number;
  readonly text: string;
  readonly headers?: Record<string, string>;
}

type VerifyCallback = (ok: boolean, status?: number, text?: string, headers?: Record<string, string>) => void;

/** What is asked of the handshakes of a server. */
export interface HandshakeSettings {
  readonly maxFrameBytes: number;
  /** Asked before the upgrade, where that is wished. Must not reject. */
  readonly verify: ((request: IncomingMessage) => Promise<HandshakeRejection | undefined>) | undefined;
  readonly report: (error: unknown) => void;
}

/** The options of a `WebSocketServer`, as they have to be while it is served. */
export class HandshakeHooks {
  readonly #server: WebSocketServerLike;
  readonly #settings: HandshakeSettings;
  readonly #originalOptions: { maxPayload?: unknown; verifyClient?: unknown; handleProtocols?: unknown };
  /** The longest frame that is let in. */
  readonly maxBytes: number;

  constructor(server: WebSocketServerLike, settings: HandshakeSettings) {
    this.#server = server;
    this.#settings = settings;
    const { maxPayload, verifyClient, handleProtocols } = server.options;
    this.#originalOptions = { maxPayload, verifyClient, handleProtocols };
    this.maxBytes = Math.min(maxPayload || Number.POSITIVE_INFINITY, settings.maxFrameBytes);
    // What is set here counts for the handshakes to come.
    server.options.maxPayload = this.maxBytes;
    server.options.handleProtocols = this.#handleProtocols;
    if (settings.verify !== undefined) server.options.verifyClient = this.#verify;
  }

  /** Leaves the server as it was. */
  restore(): void {
    Object.assign(this.#server.options, this.#originalOptions);
  }

  /** `ws` would take the first that is offered, which may be a token. */
  readonly #handleProtocols = (protocols: Iterable<string>, request: IncomingMessage): string | false => {
    const { handleProtocols } = this.#originalOptions;
    if ([...protocols].includes(SUBPROTOCOL)) return SUBPROTOCOL;
    return typeof handleProtocols === 'function' ? handleProtocols(protocols, request) : false;
  };

  readonly #verify = (info: { req: IncomingMessage }, answer: VerifyCallback): void => {
    const { verify, report } = this.#settings;
    const { verifyClient } = this.#originalOptions;
    const identify = () => {
      verify?.(info.req)
        .then((refusal) => {
          if (refusal === undefined) return answer(true);
          answer(false, refusal.status, refusal.text, refusal.headers);
        })
        // Where the owner's own listeners throw.
        .catch(report);
    };
    if (typeof verifyClient !== 'function') return identify();
    // The owner's own check comes first; it may be of either form.
    if (verifyClient.length === 2) {
      verifyClient(info, (ok: boolean, ...rest: never[]) => (ok ? identify() : answer(false, ...rest)));
    } else if (verifyClient(info)) identify();
    else answer(false, 401, 'Unauthorized');
  };
}
