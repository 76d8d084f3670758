import type { Client, ClientState, CloseInfo, Reconnecting } from '../client/index.js';
import { Listeners } from './listeners.js';

/** How the client's connection is: the same object until something in it changes. From {@link useConnection}. */
export interface ConnectionView {
  /** Whether there is a connection; `connecting` where there is no client. */
  readonly state: ClientState;
  /** Who the server says this is; undefined before the first connection. */
  readonly user: string | undefined;
  /** The server's id of the latest connection; undefined before the first. */
  readonly socket: string | undefined;
  /** How the latest connection or attempt ended, and when the next begins; undefined while there is one that holds. */
  readonly lost: CloseInfo | Reconnecting | undefined;
}

/** What is shown where nothing is known. */
export const NO_CONNECTION: ConnectionView = {
  state: 'connecting',
  user: undefined,
  socket: undefined,
  lost: undefined,
};

/** A client's connection, for `useSyncExternalStore`. */
export class ConnectionStore {
  readonly #client: Client;
  readonly #listeners = new Listeners();
  #view = NO_CONNECTION;
  #lost: CloseInfo | Reconnecting | undefined;
  #listening = false;

  constructor(client: Client) {
    this.#client = client;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const forget = this.#listeners.add(listener);
    this.#listen();
    return forget;
  };

  readonly snapshot = (): ConnectionView => {
    const { state, user, socket } = this.#client;
    const lost = state === 'open' ? undefined : this.#lost;
    const { state: s, user: u, socket: k, lost: l } = this.#view;
    if (s !== state || u !== user || k !== socket || l !== lost) this.#view = { state, user, socket, lost };
    return this.#view;
  };

  /** Once and for the client's lifetime, so that components that mount later know why the connection is lost. */
  #listen(): void {
    if (this.#listening) return;
    this.#listening = true;
    const changed = () => this.#listeners.notify();
    const lose = (how: CloseInfo | Reconnecting) => {
      this.#lost = how;
      changed();
    };
    this.#client.on('state', changed);
    this.#client.on('reconnecting', lose);
    this.#client.on('closed', lose);
  }
}
