import { type ErrorContext, PubSubService, type RollcallError, RoomService } from '../../../src/index.js';
import { TypingService } from '../../../src/typing/typing-service.js';
import { FakeClock, turn } from '../../support/fake-clock.js';
import { type FakeCall, FakeDriver } from '../../support/fake-driver.js';

export const TTL = 6_000;

/** What was published of somebody's typing. */
export interface Said {
  at: number;
  room: string;
  from: string;
  ttl: number;
  except?: string;
}

/** Real services on a Redis of which a test can decide how it answers, and time that stands still. */
export class TypingFixture {
  readonly clock = new FakeClock();
  readonly driver = new FakeDriver();
  readonly errors: [RollcallError, ErrorContext][] = [];
  readonly said: Said[] = [];
  /** Set it to answer publications otherwise than at once. */
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

  /** Redis carries out what `call` publishes. */
  publish(call: FakeCall): void {
    const replies: number[] = [];
    for (const command of call.commands as unknown as string[][]) {
      const [, channel = '', payload = ''] = command;
      this.#note(channel, payload);
      replies.push(1);
    }
    call.ack(replies);
  }

  /** `ms` later, everything having been done at its own moment. */
  async pass(ms: number, step = 100): Promise<void> {
    for (let left = ms; left > 0; left -= step) {
      this.clock.advance(Math.min(step, left));
      await turn();
    }
  }

  /** What was said since the last time, without the room. */
  take(): string[] {
    return this.said.splice(0).map(({ at, from, ttl }) => `${at} ${from} ${ttl}`);
  }

  #note(channel: string, payload: string): void {
    const { event, from, data, except } = JSON.parse(payload);
    if (event === '$typing') {
      const at = this.clock.monotonic();
      const room = channel.slice('room:'.length);
      this.said.push({ at, room, from, ttl: data.ttl, ...(except && { except }) });
    }
    if (this.driver.known.has(`channel ${channel}`)) this.driver.message('channel', channel, payload);
  }
}
