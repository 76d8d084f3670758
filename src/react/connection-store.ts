import type { Client, ClientState, CloseInfo, Reconnecting } from '../client/index.js';
import { Listeners } from './listeners.js';

/** The client's connection, from {@link useConnection}: the same object until something in it changes. */
export interface ConnectionView {
  /** `connecting` where there is no client. */
  readonly state: ClientState;
  /** As authenticated by the server; undefined before the first connection. */
  readonly user: string | undefined;
  /** The server's id of the latest connection; undefined before the first. */
  readonly socket: string | undefined;
  /** The end of the last connection or attempt; undefined while connected. */
  readonly lost: CloseInfo | Reconnecting | undefined;
}

export const NO_CONNECTION: ConnectionView = {
  state: 'connecting',
  user: undefined,
  socket: undefined,
  lost: undefined,
};

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

  /** For the client's lifetime, so that components that mount later know why the connection was lost. */
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
