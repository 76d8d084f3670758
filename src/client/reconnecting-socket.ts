import { shouldReconnect } from '../protocol/close-codes.js';
import { type ClientFrame, type ServerFrame, SUBPROTOCOL, type WelcomeFrame } from '../protocol/frames.js';
import { ClientConnection, type ReplyCallback } from './client-connection.js';
import type { ClientSettings } from './options.js';
import { onNetworkOrVisibilityChange, platform, type WebSocketWithEvents } from './platform.js';
import { ResettableTimer } from './resettable-timer.js';

/** How long an attempt may take until `welcome`, the URL's fetching included, in ms. */
const WELCOME_TIMEOUT = 10_000;
/** How long a connection must hold, in ms, before the next failure counts as the first again. */
const MIN_UPTIME = 5_000;

/**
 * Whether there is a connection. `connecting`: an attempt runs. `waiting`: the next attempt is some way off.
 * `closed`: for good, by `close()` or by a server that says not to come back.
 */
export type ClientState = 'connecting' | 'open' | 'waiting' | 'closed';

/** How a connection ended. */
export interface CloseInfo {
  /** The close code; 1006 where the connection broke without one. */
  readonly code: number;
  /** For developers. */
  readonly reason: string;
}

/** A connection ended, or an attempt failed, and the client will be back. */
export interface Reconnecting extends CloseInfo {
  /** How many have failed in a row, from 1. */
  readonly attempt: number;
  /** In how many ms the next attempt begins. */
  readonly delay: number;
}

/** Who hears what happens on the line. */
export interface ReconnectingSocketEvents {
  /** `lostAt`: until when the connection before was heard, in ms since the epoch; undefined for the first one. */
  open(welcome: WelcomeFrame, lostAt: number | undefined): void;
  frame(frame: ServerFrame): void;
  error(error: unknown): void;
  /** An open connection has ended; `code` is why. */
  connectionLost(code: number, lostAt: number): void;
  reconnecting(info: Reconnecting): void;
  closed(info: CloseInfo): void;
  state(state: ClientState): void;
}

/** One connection after the other, for as long as the servers' close codes allow. */
export class ReconnectingSocket {
  // `declare`: the constructor sets it, and no code is spent on undefined before.
  declare readonly settings: ClientSettings;
  readonly #events: ReconnectingSocketEvents;
  /** Ends the wait, the attempt, or the connection's probation: there is only one of these at a time. */
  readonly #alarm: ResettableTimer;
  readonly #removeWakeListeners: () => void;
  state: ClientState = 'waiting';
  /** What the latest connection began with. */
  welcome: WelcomeFrame | undefined;
  #link: ClientConnection | undefined;
  /** Counts attempts, so that what an old one still brings is not taken for the present one's. */
  #attemptId = 0;
  #failures = 0;
  #lostAt: number | undefined;
  /** The position from which the user's own events are wanted. */
  position: string | undefined;
  /** Takes errors that nobody awaits. */
  declare readonly report: (error: unknown) => void;

  constructor(settings: ClientSettings, events: ReconnectingSocketEvents) {
    this.settings = settings;
    this.#events = events;
    this.report = events.error;
    this.#alarm = new ResettableTimer(settings.clock);
    this.#removeWakeListeners = onNetworkOrVisibilityChange(() => {
      if (this.state === 'waiting') this.#connect();
      // After a sleep the connection may be dead without anybody having noticed.
      else if (this.open) this.#link?.probe();
    });
    this.#connect();
  }

  /** Requests can be written. */
  get open(): boolean {
    return this.state === 'open';
  }

  /** Sends a request on the open connection; see `Link`. */
  request(body: string, reply: ReplyCallback): void {
    this.#link?.request(body, reply);
  }

  /** Sends a frame that needs no answer, if there is a connection. */
  send(frame: ClientFrame): void {
    if (this.open) this.#link?.send(frame);
  }

  /** How long to wait after `attempt` (from 0) has failed: with full jitter. */
  backoffDelay(attempt: number): number {
    const { random, first, max } = this.settings;
    return random() * Math.min(max, first * 2 ** attempt);
  }

  /** Breaks off the connection or the attempt, and comes back as after any other break; ends a wait. */
  reconnect(): void {
    if (this.state === 'waiting') this.#connect();
    else this.#handleDisconnect(1006, 'reconnect');
  }

  /** Ends it for good. */
  close(): void {
    this.#handleDisconnect(1000, 'close');
  }

  #connect(): void {
    const turn = ++this.#attemptId;
    this.#alarm.set(WELCOME_TIMEOUT, () => this.#handleDisconnect(1006, 'no welcome'));
    this.#setState('connecting');
    // Never at once: whoever makes a client must get to attach handlers before anything fails.
    Promise.resolve()
      .then(this.settings.url)
      .then((url) => turn === this.#attemptId && this.#open(url))
      .catch((error: unknown) => {
        if (turn === this.#attemptId) this.report(error);
        // Asked again, for a handler may have closed the client.
        if (turn === this.#attemptId) this.#handleDisconnect(1006, 'no URL');
      });
  }

  #open(address: string): void {
    const { WebSocket, clock } = this.settings;
    const url = new URL(address, platform.location?.href);
    url.protocol = url.protocol.replace('http', 'ws');
    if (this.position !== undefined) url.searchParams.set('since', this.position);
    this.#link = new ClientConnection(new WebSocket(url.href, [SUBPROTOCOL]) as WebSocketWithEvents, clock, {
      ...this.#events,
      welcome: (welcome) => {
        // A server that accepts and closes at once must not be asked at once again and again.
        this.#alarm.set(MIN_UPTIME, () => {
          this.#failures = 0;
        });
        this.state = 'open';
        this.welcome = welcome;
        this.#events.open(welcome, this.#lostAt);
      },
      lost: (code, reason) => this.#handleDisconnect(code, reason),
    });
  }

  /** The connection or the attempt is over. */
  #handleDisconnect(code: number, reason: string): void {
    if (this.state === 'closed') return;
    const link = this.#link;
    const wasOpen = this.open;
    const turn = ++this.#attemptId;
    this.#link = undefined;
    if (wasOpen) this.#lostAt = link?.lastReceivedAt;
    if (!shouldReconnect(code)) {
      this.state = 'closed';
      this.#alarm.clear();
      this.#removeWakeListeners();
      this.#events.closed({ code, reason });
      link?.close(1000);
      return;
    }
    this.state = 'waiting';
    const delay = this.backoffDelay(this.#failures);
    const attempt = ++this.#failures;
    this.#alarm.set(delay, () => this.#connect());
    if (wasOpen) this.#events.connectionLost(code, this.#lostAt ?? 0);
    // Nothing that a server should take for a goodbye.
    link?.close(4000);
    // Each time, a handler may have ended the wait, or everything.
    if (turn === this.#attemptId) this.#setState('waiting');
    if (turn === this.#attemptId) this.#events.reconnecting({ attempt, delay, code, reason });
  }

  #setState(state: ClientState): void {
    this.state = state;
    this.#events.state(state);
  }
}
