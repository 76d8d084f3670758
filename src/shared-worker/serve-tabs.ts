import { HttpSocket } from '../client/http-socket.js';
import { platform, type WebSocketConstructor } from '../client/platform.js';
import { CLOSE, type LockManagerLike, type MessagePortLike, type OpenMessage } from './port-messages.js';
import { type Tab, Upstream } from './upstream.js';

export interface TabServerSettings {
  readonly locks: LockManagerLike;
  readonly WebSocket: WebSocketConstructor;
  /** For networks that block WebSockets. */
  readonly HttpSocket: WebSocketConstructor;
  /** In ms. */
  readonly now: () => number;
}

/** Failures in a row, after which HTTP is tried instead of WebSockets. */
const MAX_FAILURES = 3;

interface WorkerScope {
  readonly navigator: { readonly locks: LockManagerLike };
  addEventListener(
    type: 'connect',
    listener: (event: { readonly ports: readonly MessagePortLike[] }) => void,
  ): void;
}

/**
 * Makes a `SharedWorker` hold the connections of the tabs that use `sharedWebSocket`. Call it while the script of the
 * worker is evaluated: later, the first tabs would not be heard.
 *
 * @example
 * ```ts
 * import { serveTabs } from 'rollcall/shared-worker';
 *
 * serveTabs();
 * ```
 */
export function serveTabs(): void {
  const scope = globalThis as unknown as WorkerScope;
  const accept = createTabServer({
    locks: scope.navigator.locks,
    WebSocket: platform.WebSocket as WebSocketConstructor,
    HttpSocket,
    now: Date.now,
  });
  scope.addEventListener('connect', ({ ports: [port] }) => accept(port as MessagePortLike));
}

/** Tabs with the same identity and address. */
interface TabGroup {
  /** For the next tab. */
  connection?: Upstream | undefined;
  failures: number;
  isHttp: boolean;
}

/** The returned function serves the tab at the other end of a port. */
export function createTabServer(settings: TabServerSettings): (port: MessagePortLike) => void {
  const groups = new Map<string, TabGroup>();

  const connectionFor = (tab: Tab, identity: string): Upstream => {
    const key = JSON.stringify([identity, tab.url.replace(/[?#].*/s, '')]);
    const group = groups.get(key) ?? { failures: 0, isHttp: false };
    groups.set(key, group);
    const known = group.connection;
    if (known && !known.isFull) return known;
    const onRetired = (): void => {
      if (group.connection === connection) group.connection = undefined;
    };
    const Socket = group.isHttp ? settings.HttpSocket : settings.WebSocket;
    const connection = new Upstream(tab, Socket, settings.now, {
      onRetired,
      onEnded(outcome, wasOpen) {
        onRetired();
        if (outcome === 'stable') group.failures = 0;
        if (outcome !== 'failed') return;
        group.failures++;
        // After a failed attempt over HTTP, WebSockets have their turn again.
        if (group.isHttp ? !wasOpen : group.failures % MAX_FAILURES === 0) group.isHttp = !group.isHttp;
      },
    });
    group.connection = connection;
    return connection;
  };

  return (port) => {
    let tab: ReturnType<Upstream['add']> | undefined;

    const open = ({ url, identity, lock }: OpenMessage): void => {
      const self: Tab = {
        url,
        send: (text) => port.postMessage(text),
        onClosed(code, reason) {
          port.postMessage(`${CLOSE} ${code} ${reason}`);
        },
        reopen() {
          tab = connectionFor(self, identity).add(self);
        },
      };
      self.reopen();
      // Granted at the end of the tab, also if it crashes.
      void settings.locks.request(lock, close);
    };
    const close = (): void => {
      tab?.close();
      port.close();
    };

    port.addEventListener('message', ({ data }) => {
      if (typeof data !== 'string') open(data as OpenMessage);
      else if (data === CLOSE) close();
      else tab?.send(data);
    });
    port.start();
  };
}
