import { expect } from 'vitest';
import {
  type ErrorContext,
  type PresenceChange,
  type PresenceOptions,
  PresenceService,
  type RedisClient,
  type RollcallError,
} from '../../src/index.js';
import { escapeId } from '../../src/presence/ids.js';
import { PartitionKeys, partitionOf } from '../../src/presence/keys.js';
import { driverFor } from '../../src/redis/detect.js';
import type { Driver, PlainCommand, Reply } from '../../src/redis/driver.js';
import { timeLimit } from '../support/machine.js';
import { waitFor } from '../support/wait.js';

/** A Redis with nothing in it, and clients of it. */
export interface PresenceBackend {
  /** One client more of the same Redis, as another process would have. */
  client(): RedisClient;
  /** Removes all data. */
  flush(): Promise<void>;
  /** Ends all clients. */
  end(): Promise<void>;
}

/** The changes that a service received, and a way to wait until no more are in flight. */
export class Changes {
  readonly list: PresenceChange[] = [];
  /** Ends the subscription. */
  unsubscribe: () => Promise<void> = async () => {};
  static #fences = 0;

  constructor(readonly service: PresenceService) {}

  static async of(service: PresenceService): Promise<Changes> {
    const changes = new Changes(service);
    ({ unsubscribe: changes.unsubscribe } = await service.subscribe((change) => {
      changes.list.push(change);
    }));
    return changes;
  }

  /** Each change of `user` as "before > after". */
  of(user: string): string[] {
    return this.list.filter(({ userId }) => userId === user).map((it) => `${it.previous} > ${it.status}`);
  }

  /** Waits until `user` has become `status`; returns the change. */
  until(user: string, status: string, timeout = 8_000): Promise<PresenceChange> {
    return waitFor(() => this.list.find((change) => change.userId === user && change.status === status), {
      timeout,
      message: () => `${user} to become ${status}; so far: ${this.of(user).join(', ') || 'nothing'}`,
    }) as Promise<PresenceChange>;
  }

  /**
   * Everything published before this call has arrived when it resolves: messages of one channel come
   * in order, so one more change shows that there is nothing left before it.
   */
  async settled(by: PresenceService = this.service): Promise<void> {
    const fence = `fence-${++Changes.#fences}`;
    await by.setPresence(fence, fence);
    await this.until(fence, 'online');
    await by.removeSocket(fence, fence, { immediate: true });
    await this.until(fence, 'offline');
  }

  /** Every user's changes follow from each other, and their versions grow: none came twice, none is missing. */
  expectUnbroken(): void {
    const last = new Map<string, PresenceChange>();
    for (const change of this.list) {
      const before = last.get(change.userId);
      expect(change.status, `${change.userId} changes to something else`).not.toBe(change.previous);
      expect(change.previous, `what ${change.userId} was before`).toBe(before?.status ?? 'offline');
      expect(change.version, `the version of ${change.userId}`).toBeGreaterThan(before?.version ?? 0);
      last.set(change.userId, change);
    }
  }
}

/** The services of one test, all in one presence space; closed at its end. */
export class PresenceFixture {
  /** What services reported, as "stage: message"; a test that expects some takes it out. */
  readonly errors: string[] = [];
  readonly prefix: string;
  readonly #backend: PresenceBackend;
  readonly #services: PresenceService[] = [];
  static #count = 0;

  constructor(backend: PresenceBackend) {
    this.#backend = backend;
    this.prefix = `fixture-${++PresenceFixture.#count}`;
  }

  /** A service on a client of its own, as if in a process of its own. */
  service(options: Partial<PresenceOptions> = {}): PresenceService {
    const service = new PresenceService({
      redis: options.redis ?? this.client(),
      prefix: this.prefix,
      nodeName: `node${this.#services.length + 1}`,
      timeout: timeLimit(5_000),
      onError: (error: RollcallError, { stage }: ErrorContext) => {
        this.errors.push(`${stage}: ${error.message}`);
      },
      ...options,
    });
    this.#services.push(service);
    return service;
  }

  client(): RedisClient {
    return this.#backend.client();
  }

  flush(): Promise<void> {
    return this.#backend.flush();
  }

  /** Runs a command past the services, as an operator or another release would. `key` must be one of its keys. */
  async execute(command: PlainCommand, key: string): Promise<Reply> {
    const driver = driverFor(this.client());
    driver.attach({ message: () => {}, connection: () => {}, dropped: () => {} });
    await driver.connect();
    const [reply] = await driver.execute([command], { key });
    return reply as Reply;
  }

  /** The keys of a user. */
  keysOf(userId: string, partitions: number): { record: string; sockets: string } {
    const keys = new PartitionKeys(this.prefix, partitionOf(userId, partitions));
    return { record: keys.user(escapeId(userId)), sockets: keys.sockets(escapeId(userId)) };
  }

  /** A service and the changes that it receives. */
  async observer(options: Partial<PresenceOptions> = {}): Promise<[PresenceService, Changes]> {
    const service = this.service(options);
    return [service, await Changes.of(service)];
  }

  async end(): Promise<void> {
    await Promise.all(this.#services.map((service) => service.close()));
    await this.#backend.end();
    expect(this.errors, 'reported errors').toEqual([]);
  }
}

/** Counts the calls of a driver. */
export function counting(driver: Driver): { driver: Driver; calls: string[] } {
  const calls: string[] = [];
  const spy: Driver = {
    client: driver.client,
    database: driver.database ?? 0,
    get capabilities() {
      return driver.capabilities;
    },
    get ready() {
      return driver.ready;
    },
    attach: (listener) => driver.attach(listener),
    connect: () => driver.connect(),
    execute: (commands, options) => {
      calls.push(...commands.map((command) => ('script' in command ? command.script.name : command[0])));
      return driver.execute(commands, options);
    },
    subscribe: (kind, names, options) => {
      calls.push(`subscribe ${names.join(' ')}`);
      return driver.subscribe(kind, names, options);
    },
    unsubscribe: (kind, names) => driver.unsubscribe(kind, names),
    resetSubscriptions: (kind, cause, name) => driver.resetSubscriptions(kind, cause, name),
    close: () => driver.close(),
  };
  return { driver: spy, calls };
}

export const weirdIds: readonly string[] = [
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'error',
  'message',
  'offline',
  'a{b}c',
  '}{',
  'a*b?[c]',
  'say "hi"',
  '"',
  '","',
  '\\"',
  "it's",
  'back\\slash',
  '\\',
  'line\nbreak',
  'tab\tand\rreturn',
  'nul\0byte',
  '\u007f\u0080\u009f',
  '\u2028\u2029',
  '😀 🏳️‍🌈',
  'żółć 日本語',
  ' ',
  ',',
  ':',
  '[',
  '(',
  '+',
  '-',
  '%s %d %%',
  '$1 $&',
  '-1',
  '0',
  'null',
  'x'.repeat(512),
  'é'.repeat(256),
  '\u0001'.repeat(512),
];

/** Makes tests that get a fixture of their own on a backend of their own. */
export function withFixture(backend: () => Promise<PresenceBackend>) {
  return (body: (fixture: PresenceFixture) => Promise<void>) => async () => {
    const fixture = new PresenceFixture(await backend());
    try {
      await body(fixture);
    } finally {
      await fixture.end();
    }
  };
}
