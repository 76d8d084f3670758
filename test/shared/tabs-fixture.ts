import { type Client, type ConnectOptions, connect, type WebSocketConstructor } from 'rollcall/client';
import { type SharedWorkerLike, sharedWebSocket } from 'rollcall/shared-worker';
import { vi } from 'vitest';
import { createTabServer, type TabServerSettings } from '../../src/shared-worker/serve-tabs.js';

/** Web Locks of one browser. */
class FakeLocks {
  readonly #held = new Map<string, Promise<unknown>>();

  /** Those of one tab: `crash` releases its locks. */
  forTab(): { request(name: string, callback: () => unknown): Promise<unknown>; crash(): void } {
    let crash = (): void => {};
    const crashed = new Promise<void>((resolve) => {
      crash = resolve;
    });
    return {
      crash,
      request: async (name, callback) => {
        const before = this.#held.get(name);
        let release = (): void => {};
        this.#held.set(
          name,
          new Promise<void>((resolve) => {
            release = resolve;
          }),
        );
        await before;
        await Promise.race([Promise.resolve().then(callback), crashed]);
        release();
      },
    };
  }
}

/** A tab of a {@link FakeBrowser}. */
export interface FakeTab {
  readonly client: Client;
  /** The process of the tab ends, without any event. */
  crash(): void;
  /** No script of the tab runs. */
  freeze(): void;
  thaw(): void;
}

/** A browser whose tabs share a worker; all in this process. */
export class FakeBrowser {
  readonly #locks = new FakeLocks();
  readonly #accept: ReturnType<typeof createTabServer>;
  readonly tabs: FakeTab[] = [];

  constructor(settings: Omit<TabServerSettings, 'locks'>) {
    this.#accept = createTabServer({ ...settings, locks: this.#locks.forTab() });
  }

  open(options: ConnectOptions, identity = 'session'): FakeTab {
    const locks = this.#locks.forTab();
    let isDead = false;
    let frozen: (() => void)[] | undefined;
    const worker = (): SharedWorkerLike => {
      const { port1, port2 } = new MessageChannel();
      this.#accept(port2 as never);
      const port = {
        postMessage: (message: unknown) => {
          if (!isDead && !frozen) port1.postMessage(message);
        },
        start: () => port1.start(),
        close: () => port1.close(),
        addEventListener: (type: 'message', listener: (event: { readonly data: unknown }) => void) =>
          port1.addEventListener(type, (event) => {
            if (frozen) frozen.push(() => listener(event as MessageEvent));
            else if (!isDead) listener(event as MessageEvent);
          }),
      };
      return { port, addEventListener() {} };
    };
    vi.stubGlobal('SharedWorker', worker);
    vi.stubGlobal('navigator', { locks });
    const WebSocket = sharedWebSocket(worker, { identity }) as WebSocketConstructor;
    vi.unstubAllGlobals();
    const client = connect({ backoff: { first: 5, max: 20 }, ...options, WebSocket });
    const tab: FakeTab = {
      client,
      crash() {
        isDead = true;
        locks.crash();
      },
      freeze() {
        frozen = [];
      },
      thaw() {
        const missed = frozen ?? [];
        frozen = undefined;
        for (const each of missed) each();
      },
    };
    this.tabs.push(tab);
    return tab;
  }

  close(): void {
    for (const { client } of this.tabs.splice(0)) client.close();
  }
}
