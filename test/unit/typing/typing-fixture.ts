import { type ErrorContext, PubSubService, type RollcallError, RoomService } from '../../../src/index.js';
import { TypingService } from '../../../src/typing/typing-service.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { type FakeCall, FakeDriver } from '../../support/fake-driver.js';

export const TTL = 6_000;

/** A published typing event. */
export interface PublishedTyping {
  at: number;
  room: string;
  from: string;
  ttl: number;
  except?: string;
}

/** Real services on a fake Redis whose replies a test controls, and on a fake clock. */
export class TypingFixture {
  readonly clock = new FakeClock();
  readonly driver = new FakeDriver();
  readonly errors: [RollcallError, ErrorContext][] = [];
  readonly published: PublishedTyping[] = [];
  /** Replaces the immediate reply to a publication. */
  onPublish: ((call: FakeCall) => void) | undefined;
  readonly pubsub: PubSubService;
  readonly rooms: RoomService;

  constructor() {
    this.driver.onCall = (call) => {
      if (call.method !== 'execute') call.ack();
      else if (this.onPublish === undefined) this.publish(call);
      else this.onPublish(call);
    };
    const { driver: redis, clock } = this;
    const onError = (error: RollcallError, context: ErrorContext) => void this.errors.push([error, context]);
    this.pubsub = new PubSubService({ redis, clock, onError, probeInterval: 0 });
    this.rooms = new RoomService({ pubsub: this.pubsub, clock, onError, history: false });
  }

  open(ttl = TTL): TypingService {
    const onError = (error: RollcallError, context: ErrorContext) => void this.errors.push([error, context]);
    return new TypingService({ rooms: this.rooms, ttl, clock: this.clock, onError });
  }

  /** Publishes the messages of `call`. */
  publish(call: FakeCall): void {
    const replies: number[] = [];
    for (const command of call.commands as unknown as string[][]) {
      const [, channel = '', payload = ''] = command;
      this.#record(channel, payload);
      replies.push(1);
    }
    call.ack(replies);
  }

  /** Advances the clock by `ms` in steps, so that every timer runs at its time. */
  async pass(ms: number, step = 100): Promise<void> {
    for (let left = ms; left > 0; left -= step) {
      this.clock.advance(Math.min(step, left));
      await turn();
    }
  }

  /** The events published since the previous call, without the room. */
  takePublished(): string[] {
    return this.published.splice(0).map(({ at, from, ttl }) => `${at} ${from} ${ttl}`);
  }

  #record(channel: string, payload: string): void {
    const { event, from, data, except } = JSON.parse(payload);
    if (event === '$typing') {
      const at = this.clock.monotonic();
      const room = channel.slice('room:'.length);
      this.published.push({ at, room, from, ttl: data.ttl, ...(except && { except }) });
    }
    if (this.driver.known.has(`channel ${channel}`)) this.driver.message('channel', channel, payload);
  }
}
