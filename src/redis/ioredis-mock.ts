import { runWithoutAsyncContext } from '../internal/async-context.js';
import { ConnectionError, UnsupportedError } from '../internal/errors.js';
import { databaseOf } from './database.js';
import type {
  Capabilities,
  Command,
  Driver,
  DriverListener,
  DriverSubscribeOptions,
  ExecuteOptions,
  Payload,
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

interface IoredisMockLike {
  connected: boolean;
  connect(): Promise<unknown>;
  disconnect(): void;
  duplicate(): IoredisMockLike;
  multi(commands: (readonly Payload[])[]): { exec(): Promise<[Error | null, Reply][]> };
  eval(source: string, keys: number, ...args: Payload[]): Promise<Reply>;
  subscribe(...names: string[]): Promise<unknown>;
  psubscribe(...names: string[]): Promise<unknown>;
  unsubscribe(...names: string[]): Promise<unknown>;
  punsubscribe(...names: string[]): Promise<unknown>;
  on(event: string, listener: (...args: Payload[]) => void): void;
}

const CAPABILITIES: Capabilities = {
  scriptsInTransactions: false,
  strict: false,
  sharded: false,
  patterns: true,
  cluster: false,
  reconnects: false,
  binaryScripts: false,
};

/** Unlike ioredis it has no `call` and no `status`. */
export function isIoredisMockClient(value: object): value is IoredisMockClient {
  const client = value as Partial<IoredisMockLike> & Record<'call' | 'send' | 'send_command', unknown>;
  return (
    typeof client.psubscribe === 'function' &&
    typeof client.eval === 'function' &&
    // redis 3, redis-mock and Bun's client look similar, but lack `disconnect` or have their own commands.
    typeof client.disconnect === 'function' &&
    typeof client.multi === 'function' &&
    client.send_command === undefined &&
    client.send === undefined &&
    client.call === undefined &&
    typeof client.connected === 'boolean'
  );
}

/**
 * The mock's TIME combines two clocks and jumps by up to a second. Scripts get the right time as two more
 * arguments, which this code removes from ARGV.
 */
const TIME_SHIM = [
  'local seconds, micros, call = ARGV[#ARGV - 1], ARGV[#ARGV], redis.call',
  'ARGV[#ARGV] = nil',
  'ARGV[#ARGV] = nil',
  "redis.call = function(name, ...) if name == 'TIME' then return { seconds, micros } end return call(name, ...) end ",
].join(' ');

/** By `Date`, as the mock's expiry, so that a test which moves `Date` moves both. */
function redisTime(): [seconds: string, micros: string] {
  const now = Date.now();
  return [String(Math.floor(now / 1_000)), String((now % 1_000) * 1_000)];
}

/** The embedded Redis of unit tests and first steps. */
export class IoredisMockDriver implements Driver {
  readonly client = 'ioredis-mock';
  readonly capabilities = CAPABILITIES;
  readonly database: number;

  readonly #given: IoredisMockLike;
  #subscriber: IoredisMockLike | undefined;
  #listener: DriverListener | undefined;
  #closed = false;
  /** Messages to pass on in the next turn of the event loop. */
  #received: (() => void)[] = [];
  /** True: payloads as bytes. */
  readonly #confirmed: Record<SubscriptionKind, Map<string, boolean>> = {
    channel: new Map(),
    pattern: new Map(),
    sharded: new Map(),
  };

  constructor(client: IoredisMockClient) {
    this.#given = client as unknown as IoredisMockLike;
    this.database = databaseOf(client);
  }

  get ready(): boolean {
    return !this.#closed && this.#given.connected;
  }

  attach(listener: DriverListener): void {
    this.#listener = listener;
  }

  async connect(): Promise<void> {
    if (!this.#given.connected) await this.#given.connect();
    this.#listener?.connection('ready');
  }

  async execute(commands: readonly Command[], options?: ExecuteOptions): Promise<Reply[]> {
    if (!this.ready) throw new ConnectionError('the client is not connected');
    try {
      const buffers = options?.buffers === true;
      return await (options?.atomic === true
        ? this.#transaction(commands, buffers)
        : this.#oneByOne(commands, buffers));
    } catch (error) {
      throw toRollcallError(error);
    }
  }

  /** The mock has no `eval` in MULTI, so scripts follow one by one. */
  async #transaction(commands: readonly Command[], buffers: boolean): Promise<Reply[]> {
    const plain = commands.filter((command): command is PlainCommand => !isScriptCall(command));
    const replies = plain.length === 0 ? [] : await this.#multi(plain, buffers);
    const all: Reply[] = [];
    for (const command of commands) {
      all.push(isScriptCall(command) ? await this.#eval(command, buffers) : (replies.shift() as Reply));
    }
    return all;
  }

  async #oneByOne(commands: readonly Command[], buffers: boolean): Promise<Reply[]> {
    const replies: Reply[] = [];
    for (const command of commands) {
      if (isScriptCall(command)) replies.push(await this.#eval(command, buffers));
      else replies.push(...(await this.#multi([command], buffers)));
    }
    return replies;
  }

  async #multi(commands: readonly PlainCommand[], buffers: boolean): Promise<Reply[]> {
    const mode = buffers ? 'Buffer' : '';
    const lowered = commands.map(([name, ...args]) => [name.toLowerCase() + mode, ...args]);
    const outcomes = await this.#given.multi(lowered).exec();
    return outcomes.map(([error, reply], at) => {
      if (commands[at]?.[0] === 'TIME') return redisTime();
      // For several members of a missing set, Redis replies with an empty list.
      if (reply === null && commands[at]?.[0] === 'SRANDMEMBER' && commands[at]?.length === 3) return [];
      return error ?? reply;
    });
  }

  /** The mock's Lua converts everything to text; Buffers are right if they are UTF-8. */
  async #eval(call: Extract<Command, { script: unknown }>, buffers: boolean): Promise<Reply> {
    try {
      const { keys, args, script } = call;
      const argv = args.map(String);
      const reply = await this.#given.eval(
        TIME_SHIM + script.source,
        keys.length,
        ...keys,
        ...argv,
        ...redisTime(),
      );
      return buffers ? asBuffers(reply) : reply;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  async subscribe(
    kind: SubscriptionKind,
    names: readonly string[],
    options?: DriverSubscribeOptions,
  ): Promise<void> {
    if (kind === 'sharded') throw new UnsupportedError('the embedded Redis has no sharded channels');
    if (this.#closed) throw new ConnectionError('the driver is closed');
    const subscriber = this.#open();
    await (kind === 'channel' ? subscriber.subscribe(...names) : subscriber.psubscribe(...names));
    for (const name of names) {
      const binary = options?.binary === true || this.#confirmed[kind].get(name) === true;
      this.#confirmed[kind].set(name, binary);
    }
  }

  async unsubscribe(kind: SubscriptionKind, names: readonly string[]): Promise<void> {
    // A server sends them before the reply. A later subscription of the name must not receive them.
    this.#deliverReceived();
    // The mock may emit messages after an unsubscribe; messages of unconfirmed names are dropped.
    for (const name of names) this.#confirmed[kind].delete(name);
    const subscriber = this.#subscriber;
    if (subscriber === undefined || kind === 'sharded') return;
    await (kind === 'channel' ? subscriber.unsubscribe(...names) : subscriber.punsubscribe(...names));
  }

  resetSubscriptions(_kind: SubscriptionKind, cause: Error): void {
    for (const kind of ['channel', 'pattern'] as const) {
      const names = [...this.#confirmed[kind].keys()];
      this.#confirmed[kind].clear();
      if (names.length > 0) this.#listener?.dropped(kind, names, cause);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#subscriber?.disconnect();
  }

  #deliverReceived(): void {
    const received = this.#received;
    this.#received = [];
    for (const deliver of received) deliver();
  }

  #open(): IoredisMockLike {
    if (this.#subscriber !== undefined) return this.#subscriber;
    const subscriber = this.#given.duplicate();
    const listener = this.#listener as DriverListener;
    const deliver = (kind: SubscriptionKind, name: string, channel: Payload, payload: Payload) => {
      const binary = this.#confirmed[kind].get(name);
      if (binary === undefined) return;
      const converted = binary ? Buffer.from(payload as Buffer) : payload.toString();
      const pass = () => {
        if (this.#confirmed[kind].has(name)) listener.message(kind, name, channel.toString(), converted);
      };
      if (this.#received.push(pass) > 1) return;
      // The mock emits within the call of the publisher. A server answers PUBLISH on another connection, so that
      // handlers often run after `publish` has resolved.
      runWithoutAsyncContext(() => setImmediate(() => this.#deliverReceived()));
    };
    // The mock emits one event for published text and another for published bytes.
    for (const event of ['message', 'messageBuffer']) {
      subscriber.on(event, (channel = '', payload = '') =>
        deliver('channel', channel.toString(), channel, payload),
      );
    }
    for (const event of ['pmessage', 'pmessageBuffer']) {
      subscriber.on(event, (pattern = '', channel = '', payload = '') =>
        deliver('pattern', pattern.toString(), channel, payload),
      );
    }
    this.#subscriber = subscriber;
    return subscriber;
  }
}

function asBuffers(reply: Reply): Reply {
  if (Array.isArray(reply)) return reply.map(asBuffers);
  return typeof reply === 'string' ? Buffer.from(reply) : reply;
}
