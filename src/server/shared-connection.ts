import { CloseCode, shouldReconnect } from '../protocol/close-codes.js';
import { MAX_TABS, SHARED_PARAMETER } from '../protocol/shared-connection.js';
import type { ConnectionPeer } from './connection-peer.js';
import type { HandshakeRequest } from './options.js';
import { PeerAdapter, type TransportEncoder } from './peer-adapter.js';
import { readParameter } from './read-request.js';
import type { ConnectionSettings } from './server-connection.js';

/** The part of a connection that its transport implements. */
export interface TransportConnection {
  readonly peer: { onDrain(): void };
  /** `undefined` for a binary message. */
  receive(text: string | undefined): void;
  /** A ping has arrived. */
  markAlive(): void;
  /** The answer to a ping. */
  onPong(data: string): void;
  /** The client broke the protocol of the transport. */
  fail(): void;
  /** Later frames are ignored. */
  close(code: number, reason: string): void;
  /** The transport's connection has ended. */
  end(): void;
}

/** Serves a new tab. Without `url` its handshake is that of the connection. */
export type ServeTab = (
  transport: ConnectionPeer,
  url: string | undefined,
  /** Called before anything is sent. */
  onConnection: (connection: TransportConnection) => void,
) => Promise<unknown>;

/** Longest number of a tab with the space after it. */
export const TAB_PREFIX_BYTES = 16;
/** In UTF-16 units. */
const MAX_URL = 16_384;
const TAB_ID = /^[1-9]\d{0,8}$/;
/** No close code of RFC 6455 may be sent for a lost connection; a tab receives it as text. */
const NO_ANSWER = 1006;
/** Of the range for applications: clients reconnect. */
const NO_TABS = 4000;

/**
 * A connection of a transport that carries the connections of several tabs, each with its own number. The tabs' own pings
 * show that they are alive.
 */
export class SharedConnection implements TransportConnection {
  readonly peer: PeerAdapter;
  readonly #encoder: TransportEncoder;
  readonly #counters: ConnectionSettings['counters'];
  readonly #serveTab: ServeTab;
  readonly #tabs = new Map<number, Tab>();
  /** Numbers are not used again, because frames of an ended tab may be late. */
  #lastId = 0;
  /** Tabs whose sockets are attached, or not detached yet. */
  #served = 0;
  /** Messages of this turn. The same text for several tabs is one message. */
  #pending: { readonly text: string; readonly tabs: number[] }[] = [];
  /** Index in `#pending` of the latest message with this text, and of the latest one for this tab. */
  readonly #pendingByText = new Map<string, number>();
  readonly #pendingByTab = new Map<number, number>();
  #pendingLength = 0;

  constructor(
    transport: ConnectionPeer,
    encoder: TransportEncoder,
    { clock, counters, report }: ConnectionSettings,
    serveTab: ServeTab,
  ) {
    const terminate = () => {
      this.end();
      try {
        this.peer.terminate();
      } catch (error) {
        report(error);
      }
    };
    this.peer = new PeerAdapter(transport, encoder, clock, { terminate });
    this.#encoder = encoder;
    this.#counters = counters;
    this.#serveTab = serveTab;
  }

  /** The first tab is the one of the handshake. */
  start(): void {
    this.peer.welcome({ type: 'shared' });
    this.#open(1, undefined);
  }

  receive(text: string | undefined): void {
    if (this.peer.closed) return;
    const space = text?.indexOf(' ') ?? -1;
    const number = text?.slice(0, Math.max(0, space)) ?? '';
    if (text === undefined || !TAB_ID.test(number)) return this.fail();
    const id = Number(number);
    const content = text.slice(space + 1);
    if (content.startsWith('open ')) return this.#open(id, content.slice(5));
    // The server may have closed the tab before.
    const connection = this.#tabs.get(id)?.connection;
    if (content === 'close') this.#end(id);
    else if (content.startsWith('pong')) connection?.onPong(content.slice(5));
    else connection?.receive(content);
  }

  /** Each tab has its own heartbeat. */
  markAlive(): void {}

  onPong(): void {}

  fail(): void {
    this.#counters.malformed++;
    this.close(CloseCode.PROTOCOL_ERROR, 'malformed');
  }

  close(code: number, reason: string): void {
    this.#flush();
    this.peer.close(code, reason);
    this.#endAll();
  }

  end(): void {
    this.peer.end();
    this.#endAll();
  }

  /** With the messages of this turn. */
  get bufferedAmount(): number {
    return this.peer.bufferedAmount + this.#pendingLength;
  }

  send(id: number, text: string): void {
    if (this.peer.closed) return;
    if (this.#pending.length === 0) queueMicrotask(() => this.#flush());
    let index = this.#pendingByText.get(text);
    // A message that the tab must receive later than another one cannot come before it.
    if (index === undefined || index <= (this.#pendingByTab.get(id) ?? -1)) {
      index = this.#pending.push({ text, tabs: [] }) - 1;
      this.#pendingByText.set(text, index);
      this.#pendingLength += text.length;
    }
    this.#pending[index]?.tabs.push(id);
    this.#pendingByTab.set(id, index);
  }

  /** For the client the tab has ended before. */
  closeTab(id: number, code: number, reason: string): void {
    if (!this.#tabs.has(id)) return;
    this.send(id, `close ${code} ${reason}`);
    // Also for a tab that the client opens meanwhile; other codes are only meant for this one.
    this.#end(id, code !== NO_ANSWER && shouldReconnect(code) ? code : NO_TABS);
  }

  #open(id: number, url: string | undefined): void {
    if (id <= this.#lastId || (url?.length ?? 0) > MAX_URL) return this.fail();
    this.#lastId = id;
    const tab = new Tab(id, this);
    this.#tabs.set(id, tab);
    // Also limits the work of a client that opens and closes tabs all the time.
    if (this.#served >= MAX_TABS) return this.closeTab(id, CloseCode.RATE_LIMITED, 'too many tabs');
    this.#served++;
    const onConnection = (connection: TransportConnection) => {
      tab.connection = connection;
    };
    void this.#serveTab(tab, url, onConnection).then(() => {
      this.#served--;
    });
  }

  /** `code`: of the connection, if this was the last tab. */
  #end(id: number, code: number = NO_TABS): void {
    const tab = this.#tabs.get(id);
    if (!this.#tabs.delete(id)) return;
    tab?.connection?.end();
    if (this.#tabs.size > 0 || this.peer.closed) return;
    this.#flush();
    this.peer.close(code, 'no tabs');
  }

  #endAll(): void {
    for (const id of [...this.#tabs.keys()]) this.#end(id);
  }

  #flush(): void {
    const pending = this.#pending;
    this.#pending = [];
    this.#pendingByText.clear();
    this.#pendingByTab.clear();
    this.#pendingLength = 0;
    for (const { tabs, text } of pending) this.peer.send(this.#encoder.encode(`${tabs.join()} ${text}`));
  }
}

/** The connection of one tab. */
class Tab implements ConnectionPeer {
  connection: TransportConnection | undefined;
  readonly #id: number;
  readonly #shared: SharedConnection;

  constructor(id: number, shared: SharedConnection) {
    this.#id = id;
    this.#shared = shared;
  }

  get bufferedAmount(): number {
    return this.#shared.bufferedAmount;
  }

  send(frame: string): void {
    this.#shared.send(this.#id, frame);
  }

  /** The page answers, not its timers: a hidden page answers at once, a frozen one does not. */
  ping(data = ''): void {
    this.send(`ping ${data}`);
  }

  close(code: number, reason: string): void {
    this.#shared.closeTab(this.#id, code, reason);
  }

  terminate(): void {
    this.close(NO_ANSWER, 'no answer');
  }
}

/** Whether the client asks for a connection that tabs share. */
export function isShared(request: HandshakeRequest | undefined): boolean {
  return readParameter(request, SHARED_PARAMETER) === '1';
}
