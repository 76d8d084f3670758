import type { EventEmitter } from 'node:events';
import { expect } from 'vitest';
import { type Discontinuity, PubSubService, type RedisClient } from '../../src/index.js';
import { waitFor } from '../support/wait.js';

// Numbered messages through two services, to show what a fault loses, repeats or reports.

const HISTORY = { size: 100_000, ttl: 600_000 };
/** Between two messages of one channel, in ms. */
const PACE = 5;
/** Within how many ms messages have to flow again after a fault, the failover included. */
const RECOVERY = 15_000;

export type Maker = () => { client: RedisClient; end: () => unknown };

/** One channel: its messages are published one after another, and noted down as they arrive. */
export class Flow {
  /** What came, in order: numbers, and `gap` or `recovered` where a stretch may be missing. */
  readonly log: (number | 'gap' | 'recovered')[] = [];
  readonly discontinuities: Discontinuity[] = [];
  /** What has definitely been published. */
  readonly published: number[] = [];
  readonly errors: string[] = [];
  #received = new Set<number>();
  /** The one that is being published. */
  #current = -1;
  #running = true;
  #done: Promise<void> | undefined;

  constructor(
    readonly channel: string,
    readonly sharded: boolean,
    readonly history: boolean,
    /** The first number. */
    readonly first = 0,
  ) {}

  async start(from: PubSubService, to: PubSubService): Promise<void> {
    await to.subscribe<number>(
      this.channel,
      (number) => {
        this.log.push(number);
        this.#received.add(number);
      },
      {
        sharded: this.sharded,
        ...(this.history ? { since: 'latest' as const } : {}),
        onDiscontinuity: (discontinuity) => {
          this.discontinuities.push(discontinuity);
          this.log.push(discontinuity.recovered ? 'recovered' : 'gap');
        },
      },
    );
    this.#done = this.#publish(from);
    await this.flows();
  }

  async #publish(from: PubSubService): Promise<void> {
    for (let number = this.first; this.#running; number++) {
      this.#current = number;
      await new Promise((resolve) => setTimeout(resolve, PACE));
      while (!(await this.#published(from, number))) if (!this.#running) return;
    }
  }

  /** True when there is no more to be done for it. */
  async #published(from: PubSubService, number: number): Promise<boolean> {
    try {
      await from.publish(this.channel, number, {
        sharded: this.sharded,
        ...(this.history ? { history: HISTORY, idempotencyKey: String(number) } : {}),
      });
      this.published.push(number);
      return true;
    } catch (error) {
      const { outcome, message } = error as Error & { outcome: string };
      this.errors.push(`${number} ${outcome}: ${message}`);
      return !this.history && outcome === 'unknown';
    }
  }

  /** Resolves when a message that is published from now on has arrived. */
  async flows(): Promise<void> {
    const before = this.#current;
    const arrived = () => {
      const from = this.published.findLastIndex((number) => number <= before) + 1;
      return this.published.slice(from).some((number) => this.#received.has(number));
    };
    await waitFor(arrived, { timeout: RECOVERY, message: () => `messages on ${this.channel}:\n${this}` });
  }

  /** Publishes no more. */
  halt(): void {
    this.#running = false;
  }

  async stop(): Promise<void> {
    await this.flows();
    this.halt();
    await this.#done;
    const last = this.published.at(-1) as number;
    await waitFor(() => this.#received.has(last), { message: () => `the last message, ${last}:\n${this}` });
  }

  /**
   * Throws if a message is missing without a discontinuity. With history, also if a message came twice or in
   * another order; what a server has forgotten, or kept apart from the others, may, at a gap.
   */
  verify(): void {
    expect([...this.#lostUntold(), ...(this.history ? this.#outOfOrder() : [])], String(this)).toEqual([]);
  }

  /** Throws if a gap that was not recovered was told where nothing can be lost. */
  verifyNoGap(): void {
    expect(this.log.includes('gap'), String(this)).toBe(false);
  }

  #outOfOrder(): string[] {
    const forked = this.discontinuities.some(({ reason }) =>
      ['failover', 'forked', 'wiped'].includes(reason),
    );
    const wrong: string[] = [];
    let last = this.first - 1;
    let reported = false;
    for (const each of this.log) {
      if (typeof each !== 'number') {
        reported ||= each === 'gap' && forked;
        continue;
      }
      if (each !== last + 1 && !reported) wrong.push(`${each} after ${last}`);
      last = each;
      reported = false;
    }
    return wrong;
  }

  /** What did not come, although it was published, and no gap stands in its place. */
  #lostUntold(): string[] {
    const lost = this.published.filter((number) => !this.#received.has(number));
    return lost.flatMap((number) => {
      const after = this.log.findIndex((each) => typeof each === 'number' && each > number);
      const until = this.log.slice(0, after);
      const before = until.findLastIndex((each) => typeof each === 'number' && each < number);
      return until.indexOf('gap', before) === -1 ? [`${number} is missing`] : [];
    });
  }

  toString(): string {
    const reported = this.discontinuities.map(
      ({ reason, recovered }) => `${reason}${recovered ? ' (recovered)' : ''}`,
    );
    const tail = this.log.slice(-10).join(' ');
    const { channel, published, errors } = this;
    return `${channel}: ${published.length} published, … ${tail}; reported: ${reported.join(', ')}; errors: ${errors.join('; ')}`;
  }
}

/** A channel of each kind, all in the slot of `tag`. */
export function fourFlows(tag: string): Flow[] {
  const name = `{${tag}}:${Math.random().toString(36).slice(2)}`;
  return [
    new Flow(`${name}:classic`, false, false),
    new Flow(`${name}:classic with history`, false, true),
    new Flow(`${name}:sharded`, true, false),
    new Flow(`${name}:sharded with history`, true, true),
  ];
}

/** Channels, and the services that publish and subscribe to them during a fault. */
export class FlowFixture {
  readonly flows: readonly Flow[];
  readonly #ends: (() => unknown)[] = [];
  readonly #maker: Maker;

  constructor(maker: Maker, flows: readonly Flow[]) {
    this.#maker = maker;
    this.flows = flows;
  }

  async start(): Promise<void> {
    // Two clients, so that the one that listens learns of nothing by sending.
    const [from, to] = [this.#service(), this.#service()];
    await Promise.all(this.flows.map((flow) => flow.start(from, to)));
  }

  #service(): PubSubService {
    const { client, end } = this.#maker();
    (client as unknown as EventEmitter).on('error', () => {});
    const service = new PubSubService({ redis: client });
    this.#ends.push(async () => {
      await service.close();
      await end();
    });
    return service;
  }

  async flowing(): Promise<void> {
    await Promise.all(this.flows.map((flow) => flow.flows()));
  }

  async verify(): Promise<void> {
    await Promise.all(this.flows.map((flow) => flow.stop()));
    for (const flow of this.flows) flow.verify();
  }

  /** As `verify`, after something that loses nothing which Redis has acknowledged: no history may tell a gap. */
  async verifyNoGap(): Promise<void> {
    await this.verify();
    for (const flow of this.flows) if (flow.history) flow.verifyNoGap();
  }

  async end(): Promise<void> {
    for (const flow of this.flows) flow.halt();
    await Promise.all(this.#ends.map((end) => end()));
  }
}
