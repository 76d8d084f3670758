import { randomUUID } from 'node:crypto';
import { UnsupportedError } from '../internal/errors.js';
import type { IoredisMockClient } from '../redis/ioredis-mock.js';

/** A client of an {@link EmbeddedRedis}; pass it as `redis`. */
export interface EmbeddedClient extends IoredisMockClient {
  /** Removes all keys of this embedded Redis. */
  flushall(): Promise<unknown>;
  /** The names of the keys that match `pattern`. */
  keys(pattern: string): Promise<string[]>;
}

/** A Redis inside this process, for unit tests and first steps. */
export interface EmbeddedRedis {
  /** A client of it. */
  readonly client: EmbeddedClient;
  /** Another client of the same data, as another process of the application would have. */
  connect(): EmbeddedClient;
  /** Removes all data. */
  flush(): Promise<void>;
  /** Closes all its clients. */
  close(): Promise<void>;
  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

interface MockConstructor {
  new (options: { host: string; lazyConnect?: boolean }): EmbeddedClient;
}

/**
 * Makes an empty embedded Redis, separate from all others, on the optional peer `ioredis-mock`. It is slow, its data
 * ends with the process, and a transaction with a script is not atomic (no other process could see that).
 *
 * @throws `UnsupportedError` when `ioredis-mock` is not installed.
 */
export async function createEmbeddedRedis(): Promise<EmbeddedRedis> {
  const Mock = await loadMock();
  // Clients of the mock share their data by host.
  const host = `embedded-${randomUUID()}`;
  const clients: EmbeddedClient[] = [];
  const connect = (): EmbeddedClient => {
    const client = new Mock({ host });
    clients.push(client);
    return client;
  };
  const client = connect();
  const close = async (): Promise<void> => {
    for (const one of clients.splice(0)) (one.disconnect as () => void)();
  };
  return {
    client,
    connect,
    flush: async () => {
      await client.flushall();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function loadMock(): Promise<MockConstructor> {
  try {
    const module = (await import('ioredis-mock')) as unknown as {
      default: MockConstructor | { default: MockConstructor };
    };
    const loaded = module.default;
    return typeof loaded === 'function' ? loaded : loaded.default;
  } catch (cause) {
    throw new UnsupportedError(
      'the embedded Redis needs the package ioredis-mock: npm install --save-dev ioredis-mock ioredis@5',
      {
        cause,
      },
    );
  }
}
