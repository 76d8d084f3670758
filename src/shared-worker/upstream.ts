import type { WebSocketConstructor, WebSocketWithEvents } from '../client/platform.js';
import { EXPIRED, SERVICE_RESTART, UNAUTHENTICATED, UNAVAILABLE } from '../protocol/close-codes.js';
import { SUBPROTOCOL } from '../protocol/frames.js';
import { MAX_TABS, SHARED_PARAMETER } from '../protocol/shared-connection.js';
import { CLOSE, parseClose } from './port-messages.js';

/** A tab, as its connection sees it. */
export interface Tab {
  /** The one for a WebSocket. */
  readonly url: string;
  send(text: string): void;
  /** The connection has closed the tab. */
  onClosed(code: number, reason: string): void;
  /** A new connection may serve the tab. */
  reopen(): void;
}

export interface UpstreamListener {
  /** The server does not serve new tabs here: the next tab needs a new connection. */
  onRetired(): void;
  /** `failed`: not opened, or lost early. `undefined`: closed before it was either. */
  onEnded(outcome: 'failed' | 'stable' | undefined, wasOpen: boolean): void;
}

/** Some of the tabs that the server counts may not be detached yet. */
const MAX_OPEN_TABS = MAX_TABS / 2;
/** Of `rollcall/client`, in ms: how long a tab waits for its first frame, and at least for the answer to a ping. */
const WELCOME_TIMEOUT = 10_000;
const PONG_TIMEOUT = 2_000;
/** Timers of the tab and the clock of the worker differ by less, in ms. */
const TOLERANCE = 100;
/** In ms. Some proxies cut WebSockets after 10 s. */
const MIN_UPTIME = 15_000;
const LOST = 1006;
/** "Protocol error", RFC 6455. */
const UNSUPPORTED = 1002;
/** The same tab may be served on a new connection: by another process, or with newer cookies. */
const RETIRED: readonly number[] = [SERVICE_RESTART, UNAUTHENTICATED, UNAVAILABLE, EXPIRED];
/** The headers of the handshake may be outdated. */
const REFUSED: readonly number[] = [UNAUTHENTICATED, EXPIRED];

/** The worker's side of a connection that tabs share: see docs/protocol.md. */
export class Upstream {
  readonly #socket: WebSocketWithEvents;
  readonly #listener: UpstreamListener;
  readonly #now: () => number;
  readonly #tabs = new Map<number, Tab>();
  /** Tabs that have received a frame. */
  readonly #served = new Set<number>();
  #lastId = 0;
  /** Messages until the server has sent its first one. */
  #waiting: string[] | undefined = [];
  #openedAt: number | undefined;
  /** Since then a message of the server is expected. */
  #silentSince: number | undefined;
  #isEnded = false;

  /** Opened with the URL of the first tab. */
  constructor(tab: Tab, Socket: WebSocketConstructor, now: () => number, listener: UpstreamListener) {
    const { url } = tab;
    this.#listener = listener;
    this.#now = now;
    this.#silentSince = now();
    const separator = url.includes('?') ? '&' : '?';
    const address = `${url}${separator}${SHARED_PARAMETER}=1`;
    this.#socket = new Socket(address, [SUBPROTOCOL]) as WebSocketWithEvents;
    this.#socket.addEventListener('message', ({ data }: { data: string }) => this.#receive(data));
    this.#socket.addEventListener('error', () => {
      if (this.#waiting) this.#end(LOST, '');
    });
    this.#socket.addEventListener('close', ({ code, reason }: { code: number; reason: string }) =>
      this.#end(code, reason),
    );
  }

  get isFull(): boolean {
    return this.#tabs.size >= MAX_OPEN_TABS;
  }

  /** Returns the functions of the tab. */
  add(tab: Tab): { send(text: string): void; close(): void } {
    const id = ++this.#lastId;
    this.#tabs.set(id, tab);
    // The first tab is the one of the handshake.
    if (id > 1) this.#write(`${id} open ${tab.url}`);
    return {
      send: (text) => {
        if (text.startsWith('{"type":"ping"')) this.#silentSince ??= this.#now();
        this.#write(`${id} ${text}`);
      },
      close: () => this.#close(id),
    };
  }

  #close(id: number): void {
    if (!this.#tabs.delete(id)) return;
    // A tab that has received nothing for its time limit closes its connection, and would come back to this one.
    const limit = this.#waiting ? WELCOME_TIMEOUT : PONG_TIMEOUT;
    const silence = this.#silentSince === undefined ? 0 : this.#now() - this.#silentSince;
    if (silence >= limit - TOLERANCE) return this.#end(LOST, 'no reply');
    this.#write(`${id} ${CLOSE}`);
    this.#closeWithoutTabs();
  }

  #write(text: string): void {
    if (this.#isEnded) return;
    if (this.#waiting) return void this.#waiting.push(text);
    try {
      this.#socket.send(text);
    } catch (error) {
      this.#end(LOST, String(error));
    }
  }

  #receive(text: string): void {
    if (this.#isEnded) return;
    this.#silentSince = undefined;
    if (this.#waiting) return this.#open(text);
    const space = text.indexOf(' ');
    const content = text.slice(space + 1);
    for (const each of text.slice(0, space).split(',')) this.#deliver(Number(each), content);
    this.#closeWithoutTabs();
  }

  #open(text: string): void {
    if (!text.startsWith('{"type":"shared"')) {
      return this.#end(UNSUPPORTED, 'the server does not know shared connections');
    }
    const waiting = this.#waiting as string[];
    this.#waiting = undefined;
    this.#openedAt = this.#now();
    for (const each of waiting) this.#write(each);
  }

  #deliver(id: number, content: string): void {
    const tab = this.#tabs.get(id);
    if (content[0] === '{') this.#served.add(id);
    if (!content.startsWith(CLOSE)) return tab?.send(content);
    const { code, reason } = parseClose(content);
    this.#tabs.delete(id);
    if (RETIRED.includes(code)) this.#listener.onRetired();
    if (!tab) return;
    if (id > 1 && REFUSED.includes(code) && !this.#served.has(id)) tab.reopen();
    else tab.onClosed(code, reason);
  }

  #closeWithoutTabs(): void {
    if (this.#tabs.size === 0 && !this.#isEnded) this.#end(LOST, 'no tabs', false);
  }

  #end(code: number, reason: string, isLost = code === LOST || !!this.#waiting): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const wasOpen = !this.#waiting;
    const isStable = this.#openedAt !== undefined && this.#now() - this.#openedAt >= MIN_UPTIME;
    try {
      this.#socket.close(4000);
    } catch {
      // Its later events are ignored.
    }
    this.#listener.onEnded(isStable ? 'stable' : isLost ? 'failed' : undefined, wasOpen);
    for (const tab of this.#tabs.values()) tab.onClosed(code, reason);
    this.#tabs.clear();
  }
}
