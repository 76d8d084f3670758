import { ConnectionError, UnsupportedError } from '../errors.js';
import type {
  Capabilities,
  Command,
  Driver,
  DriverListener,
  ExecuteOptions,
  PlainCommand,
  Reply,
  SubscriptionKind,
} from './driver.js';
import { isScriptCall } from './driver.js';
import { toRollcallError } from './replies.js';

/** The shape by which an `ioredis-mock` client is recognised. */
export interface IoredisMockClient {
  /** @internal */
  readonly connected: boolean;
  /** @internal */
  duplicate(...args: never[]): unknown;
  /** @internal */
  disconnect(...args: never[]): unknown;
  /** @internal */
  multi(...args: never[]): unknown;
  /** @internal */
  eval(...args: never[]): unknown;
  /** @internal */
  psubscribe(...args: never[]): unknown;
}

/** What this adapter calls. */
interface Client {
  connected: boolean;
  connect(): Promise<unknown>;
  disconnect(): void;
  duplicate(): Client;
  multi(commands: (readonly string[])[]): { exec(): Promise<[Error | null, Reply][]> };
  eval(source: string, keys: number, ...args: string[]): Promise<Reply>;
  subscribe(...names: string[]): Promise<unknown>;
  psubscribe(...names: string[]): Promise<unknown>;
  unsubscribe(...names: string[]): Promise<unknown>;
  punsubscribe(...names: string[]): Promise<unknown>;
  on(event: string, listener: (...args: string[]) => void): void;
}

const CAPABILITIES: Capabilities = {
  scriptsInTransactions: false,
  strict: false,
  sharded: false,
  patterns: true,
  cluster: false,
  reconnects: false,
};

/** True for an ioredis-mock client: an ioredis without `call` and without connection states. */
export function isIoredisMockClient(value: object): value is IoredisMockClient {
  const client = value as Partial<Client> & { call?: unknown; status?: unknown };
  return (
    typeof client.psubscribe === 'function' &&
    typeof client.eval === 'function' &&
    client.call === undefined &&
    typeof client.connected === 'boolean'
  );
}

/**
 * The mock's TIME puts together seconds and microseconds of two clocks, so it jumps to and fro by
 * up to a second. Scripts get the right time as two more arguments, which this takes off again.
 */
const CLOCK = [
  'local seconds, micros, call = ARGV[#ARGV - 1], ARGV[#ARGV], redis.call',
  'ARGV[#ARGV] = nil',
  'ARGV[#ARGV] = nil',
  "redis.call = function(name, ...) if name == 'TIME' then return { seconds, micros } end return call(name, ...) end ",
].join(' ');

function redisTime(): [seconds: string, micros: string] {
  const micros = Math.floor((performance.timeOrigin + performance.now()) * 1_000);
  return [String(Math.floor(micros / 1_000_000)), String(micros % 1_000_000)];
}

/** Drives an ioredis-mock client: the embedded Redis of unit tests and first steps. */
export class IoredisMockDriver implements Driver {
  readonly client = 'ioredis-mock';
  readonly capabilities = CAPABILITIES;

  readonly #given: Client;
  #subscriber: Client | undefined;
  #listener: DriverListener | undefined;
  #closed = false;
  readonly #confirmed: Record<SubscriptionKind, Set<string>> = {
    channel: new Set(),
    pattern: new Set(),
    sharded: new Set(),
  };

  constructor(client: IoredisMockClient) {
    this.#given = client as unknown as Client;
  }

  get ready(): boolean {
    return !this.#closed && this.#given.connected;
  }

  attach(listener: DriverListener): void {
    this.#listener = listener;
  }

  async connect(): Promise<void> {
    if (!this.#given.connected) await this.#given.connect();
    this.#listener?.connection('commands', 'ready');
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (!this.ready) throw new ConnectionError('the client is not connected');
    try {
      return await (options?.atomic === true ? this.#transaction(commands) : this.#oneByOne(commands));
    } catch (error) {
      throw toRollcallError(error);
    }
  }

  /** The plain commands in one MULTI; `eval` is missing there, so scripts follow one by one. */
  async #transaction(commands: readonly Command[]): Promise<Reply[]> {
    const plain = commands.filter((command): command is PlainCommand => !isScriptCall(command));
    const replies = plain.length === 0 ? [] : await this.#multi(plain);
    const all: Reply[] = [];
    for (const command of commands) {
      all.push(isScriptCall(command) ? await this.#eval(command) : (replies.shift() as Reply));
    }
    return all;
  }

  async #oneByOne(commands: readonly Command[]): Promise<Reply[]> {
    const replies: Reply[] = [];
    for (const command of commands) {
      if (isScriptCall(command)) replies.push(await this.#eval(command));
      else replies.push(...(await this.#multi([command])));
    }
    return replies;
  }

  async #multi(commands: readonly PlainCommand[]): Promise<Reply[]> {
    const lowered = commands.map(([name, ...args]) => [name.toLowerCase(), ...args]);
    const outcomes = await this.#given.multi(lowered).exec();
    return outcomes.map(([error, reply], at) => {
      // Asked for several members of a missing set, Redis answers an empty list.
      if (reply === null && commands[at]?.[0] === 'SRANDMEMBER' && commands[at]?.length === 3) return [];
      return error ?? reply;
    });
  }

  async #eval(call: Extract<Command, { script: unknown }>): Promise<Reply> {
    try {
      const { keys, args, script } = call;
      return await this.#given.eval(CLOCK + script.source, keys.length, ...keys, ...args, ...redisTime());
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  async subscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    if (kind === 'sharded') throw new UnsupportedError('the embedded Redis has no sharded channels');
    if (this.#closed) throw new ConnectionError('the driver is closed');
    const subscriber = this.#open();
    await (kind === 'channel' ? subscriber.subscribe(...names) : subscriber.psubscribe(...names));
    for (const name of names) this.#confirmed[kind].add(name);
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    // The mock may deliver after an unsubscribe; what is not confirmed any more is not passed on.
    for (const name of names) this.#confirmed[kind].delete(name);
    const subscriber = this.#subscriber;
    if (subscriber === undefined || kind === 'sharded') return;
    await (kind === 'channel' ? subscriber.unsubscribe(...names) : subscriber.punsubscribe(...names));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#subscriber?.disconnect();
  }

  #open(): Client {
    if (this.#subscriber !== undefined) return this.#subscriber;
    const subscriber = this.#given.duplicate();
    const listener = this.#listener as DriverListener;
    subscriber.on('message', (channel = '', payload = '') => {
      if (this.#confirmed.channel.has(channel)) listener.message('channel', channel, channel, payload);
    });
    subscriber.on('pmessage', (pattern = '', channel = '', payload = '') => {
      if (this.#confirmed.pattern.has(pattern)) listener.message('pattern', pattern, channel, payload);
    });
    this.#subscriber = subscriber;
    listener.connection('subscriber', 'ready');
    return subscriber;
  }
}
