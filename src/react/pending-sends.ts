import type { ClientError, EventContext, Room, SendOptions, SendResult } from '../client/index.js';
import { uniqueId } from '../client/platform.js';
import type { TimelineEvent } from './types.js';

interface PendingSend {
  entry: TimelineEvent;
  /** Data as JSON, which identifies the event: event frames carry no idempotency key. */
  readonly json: string;
  readonly options: SendOptions;
}

/** Events of this client, from the call until the room's own event arrives. */
export class PendingSends {
  /** In the order of the calls: the same array until it changes. */
  entries: readonly TimelineEvent[] = [];
  readonly #sends = new Map<string, PendingSend>();
  /** The keys of the events that ended a pending send: React keeps their elements. */
  readonly #keys = new WeakMap<object, string>();
  readonly #user: () => string | undefined;
  readonly #changed: () => void;
  #serial = 0;

  constructor(user: () => string | undefined, changed: () => void) {
    this.#user = user;
    this.#changed = changed;
  }

  send(room: Room, event: string, data: unknown, options: SendOptions): Promise<SendResult> {
    const key = `~${++this.#serial}`;
    const json = JSON.stringify(data);
    const entry: TimelineEvent = {
      key,
      event,
      // As it will be received: a Date is text before and after.
      data: JSON.parse(json),
      from: this.#user(),
      position: undefined,
      at: undefined,
      replayed: false,
      status: 'pending',
      error: undefined,
    };
    // With the same idempotency key.
    const send = {
      entry,
      json,
      options: { ...options, key: options.key ?? uniqueId() },
    };
    this.#sends.set(key, send);
    this.#update();
    return this.#run(room, send);
  }

  /** Undefined without a failed entry of this key. */
  resend(room: Room, key: string): Promise<SendResult> | undefined {
    const send = this.#sends.get(key);
    if (send?.entry.status !== 'failed') return;
    this.#show(send, { status: 'pending', error: undefined });
    return this.#run(room, send);
  }

  discard(key: string): void {
    if (this.#sends.get(key)?.entry.status === 'failed' && this.#sends.delete(key)) this.#update();
  }

  /** Call it before the lists append the event. */
  onEvent(context: EventContext): void {
    if (this.#sends.size === 0 || context.from === undefined || context.from !== this.#user()) return;
    const json = JSON.stringify(context.data);
    for (const [key, send] of this.#sends) {
      const { entry } = send;
      const maybeSent = entry.status === 'pending' || entry.error?.outcome === 'unknown';
      if (!maybeSent || entry.event !== context.event || send.json !== json) continue;
      this.#keys.set(context, key);
      this.#sends.delete(key);
      return this.#update();
    }
  }

  keyOf(context: object): string | undefined {
    return this.#keys.get(context);
  }

  /** Events were missed: those of acknowledged sends do not arrive. */
  onGap(): void {
    if (this.#sends.size === 0) return;
    for (const [key, { entry }] of this.#sends) if (entry.position !== undefined) this.#sends.delete(key);
    this.#update();
  }

  async #run(room: Room, send: PendingSend): Promise<SendResult> {
    const { entry, options } = send;
    try {
      const result = await room.send(entry.event, entry.data, options);
      // The lists already have the event, under an earlier key.
      if (result.duplicate) this.#remove(send);
      else this.#show(send, { position: result.position });
      return result;
    } catch (error) {
      if (options.signal?.aborted) this.#remove(send);
      else this.#show(send, { status: 'failed', error: error as ClientError });
      throw error;
    }
  }

  #remove({ entry }: PendingSend): void {
    if (this.#sends.delete(entry.key)) this.#update();
  }

  #show(send: PendingSend, news: Partial<TimelineEvent>): void {
    send.entry = { ...send.entry, ...news };
    if (this.#sends.has(send.entry.key)) this.#update();
  }

  #update(): void {
    this.entries = [...this.#sends.values()].map(({ entry }) => entry);
    this.#changed();
  }
}
