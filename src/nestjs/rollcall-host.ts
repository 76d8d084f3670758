import { isThenable } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertOptions, booleanOption, numberOption } from '../internal/validate.js';
import type { RedisClient } from '../redis/detect.js';
import { createRollcall, type Rollcall } from '../rollcall.js';
import { SERVE_CLOSE_OPTION_NAMES } from '../server/option-names.js';
import type { ServeCloseOptions } from '../server/options.js';
import type { RollcallModuleOptions } from './options.js';

/** Something with connections of clients. */
interface Serving {
  close(options?: ServeCloseOptions): Promise<void>;
}

/**
 * All services of an application, and the order of its end: connections, services, the Redis client. Nest calls the
 * hooks by their names.
 */
export class RollcallHost {
  readonly rollcall: Rollcall;
  readonly #shutdown: ServeCloseOptions;
  /** The client, if the module has created it. */
  readonly #ownClient: RedisClient | undefined;
  readonly #servings = new Set<Serving>();

  private constructor(rollcall: Rollcall, shutdown: ServeCloseOptions, ownClient: RedisClient | undefined) {
    this.rollcall = rollcall;
    this.#shutdown = shutdown;
    this.#ownClient = ownClient;
  }

  /** @throws {@link InvalidArgumentError} for an invalid option. */
  static async create(options: RollcallModuleOptions): Promise<RollcallHost> {
    assertOptions('options', options ?? null);
    const { redis, shutdown = {}, ...rest } = options;
    assertOptions('shutdown', shutdown, SERVE_CLOSE_OPTION_NAMES);
    numberOption('shutdown.drainPeriod', shutdown.drainPeriod, 0, { unit: 'ms', min: 0, max: 3_600_000 });
    booleanOption('shutdown.handoff', shutdown.handoff, false);
    if (isThenable(redis)) {
      throw new InvalidArgumentError('redis', 'is a Promise: pass a client, or a function that returns one');
    }
    if (typeof redis !== 'function')
      return new RollcallHost(createRollcall({ ...rest, redis }), shutdown, undefined);
    const client = await redis();
    try {
      return new RollcallHost(createRollcall({ ...rest, redis: client }), shutdown, client);
    } catch (error) {
      await closeClient(client);
      throw error;
    }
  }

  /** `serving` is closed before the services. */
  add(serving: Serving): void {
    this.#servings.add(serving);
  }

  /** Nest closes the HTTP server after this hook, and waits for its connections. */
  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all([...this.#servings].map((serving) => serving.close(this.#shutdown)));
  }

  async onApplicationShutdown(): Promise<void> {
    try {
      await this.rollcall.close({ handoff: this.#shutdown.handoff === true });
    } finally {
      if (this.#ownClient !== undefined) await closeClient(this.#ownClient);
    }
  }
}

/** Members by which clients and drivers end; by shape, as there are many clients. */
interface Closable {
  readonly isOpen?: unknown;
  destroy?(): unknown;
  disconnect?(): unknown;
  close?(): unknown;
}

/** At once: the services have waited for their commands. */
async function closeClient(client: unknown): Promise<void> {
  if (typeof client !== 'object' || client === null) return;
  const given = client as Closable;
  // node-redis throws when it is closed twice.
  if (given.isOpen === false) return;
  if (typeof given.destroy === 'function') await given.destroy();
  else if (typeof given.disconnect === 'function') await given.disconnect();
  else await given.close?.();
}
