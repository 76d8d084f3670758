import { runWithoutAsyncContext } from '../internal/async-context.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { PartitionLayout } from './partition-layout.js';

/** Connects and, for a service with background work, checks the layout: once, before the first read or write. */
export class Startup {
  readonly #client: ClientHandle;
  readonly #layout: PartitionLayout;
  readonly #background: boolean;
  readonly #listeners: ((layouts: readonly string[]) => void)[] = [];
  #started: Promise<void> | undefined;

  constructor(client: ClientHandle, layout: PartitionLayout, background: boolean) {
    this.#background = background;
    this.#client = client;
    this.#layout = layout;
  }

  /** True while starting, and once started. */
  get begun(): boolean {
    return this.#started !== undefined;
  }

  /** Called with the stored layout of each partition; not without background work. */
  onStarted(listener: (layouts: readonly string[]) => void): void {
    this.#listeners.push(listener);
  }

  /** Calls share one attempt; after a failure the next call tries again. */
  run(): Promise<void> {
    // Its timers and subscriptions outlive the call.
    this.#started ??= runWithoutAsyncContext(() => this.#run()).catch((error: unknown) => {
      this.#started = undefined;
      throw error;
    });
    return this.#started;
  }

  async #run(): Promise<void> {
    await this.#client.connect();
    if (!this.#background) return;
    const layouts = await this.#layout.check();
    for (const listener of this.#listeners) listener(layouts);
  }
}
