import type { IncomingMessage } from 'node:http';
import { SUBPROTOCOL } from '../protocol/frames.js';
import type { HandshakeRejection } from '../server/handshake.js';
import type { WebSocketServerLike } from './ws-types.js';

type VerifyCallback = (ok: boolean, status?: number, text?: string, headers?: object) => void;

export interface HandshakeSettings {
  readonly maxBytes: number;
  /** Before the upgrade, with `refuseWith: 'status'`. Must not reject. */
  readonly verify: ((request: IncomingMessage) => Promise<HandshakeRejection | undefined>) | undefined;
  readonly report: (error: unknown) => void;
}

/** Sets options of a `WebSocketServer` while it is served. */
export class HandshakeHooks {
  readonly #server: WebSocketServerLike;
  readonly #settings: HandshakeSettings;
  readonly #originalOptions: { maxPayload?: unknown; verifyClient?: unknown; handleProtocols?: unknown };

  constructor(server: WebSocketServerLike, settings: HandshakeSettings) {
    this.#server = server;
    this.#settings = settings;
    const { maxPayload, verifyClient, handleProtocols } = server.options;
    this.#originalOptions = { maxPayload, verifyClient, handleProtocols };
    // `ws` reads the options at every handshake.
    server.options.maxPayload = settings.maxBytes;
    server.options.handleProtocols = this.#handleProtocols;
    if (settings.verify !== undefined) server.options.verifyClient = this.#verify;
  }

  restore(): void {
    Object.assign(this.#server.options, this.#originalOptions);
  }

  /** Without this, `ws` selects the first offered subprotocol, which may be a token. */
  readonly #handleProtocols = (protocols: Iterable<string>, request: IncomingMessage): string | false => {
    const { handleProtocols } = this.#originalOptions;
    if ([...protocols].includes(SUBPROTOCOL)) return SUBPROTOCOL;
    return typeof handleProtocols === 'function' ? handleProtocols(protocols, request) : false;
  };

  readonly #verify = (info: { req: IncomingMessage }, answer: VerifyCallback): void => {
    const { verify, report } = this.#settings;
    const { verifyClient } = this.#originalOptions;
    const verifyIdentity = () => {
      verify?.(info.req)
        .then((rejection) => {
          if (rejection === undefined) return answer(true);
          answer(false, rejection.status, rejection.text, rejection.headers);
        })
        // `answer` runs listeners of the application, which may throw.
        .catch(report);
    };
    if (typeof verifyClient !== 'function') return verifyIdentity();
    // The application's check runs first; `ws` accepts a synchronous form and one with a callback.
    if (verifyClient.length === 2) {
      verifyClient(info, (ok: boolean, ...rest: never[]) => (ok ? verifyIdentity() : answer(false, ...rest)));
    } else if (verifyClient(info)) verifyIdentity();
    else answer(false, 401, 'Unauthorized');
  };
}
