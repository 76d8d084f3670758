import { type Channel, channel } from 'node:diagnostics_channel';

/** What all events that take time have in common. */
export interface TimedEvent {
  /** When it began, in ms since the epoch. */
  readonly startedAt: number;
  /** How long it took, in ms. */
  readonly duration: number;
  /** Why it failed; not there when it did not. */
  readonly error?: Error;
}

/**
 * The events that rollcall publishes on `node:diagnostics_channel`, by the channel's name. They carry
 * names, counts and times, never what a message holds.
 */
export interface RollcallEvents {
  /** A call of `publish` has ended. */
  'rollcall:publish': TimedEvent & {
    /** The channel, with the service's prefix. */
    readonly channel: string;
    /** The size of the payload: bytes, or characters where it is text. */
    readonly size: number;
    /** It was published with history. */
    readonly history: boolean;
    /** How many connections got it, where that is known. */
    readonly receivers?: number;
    /** Its place in the history. */
    readonly position?: string;
  };
  /** A message came in and was handed to the handlers, or was read from history for them. */
  'rollcall:deliver': {
    /** What Redis knows the subscription as: `channel`, `pattern` or `sharded`. */
    readonly kind: string;
    /** The channel it was published to. */
    readonly channel: string;
    /** The size of the payload: bytes, or characters where it is text. */
    readonly size: number;
    /** How many handlers there are. */
    readonly handlers: number;
    /** Its place in the history, where it has one. */
    readonly position?: string;
  };
  /** Messages may be missing, or were. */
  'rollcall:discontinuity': {
    /** What Redis knows the subscription as. */
    readonly kind: string;
    /** The channel or pattern. */
    readonly channel: string;
    /** Why; see `DiscontinuityReason`. */
    readonly reason: string;
    /** Up to when all is known to be well, in ms since the epoch. */
    readonly since: number;
    /** Everything has been delivered after all. */
    readonly recovered: boolean;
    /** How many handlers are concerned. */
    readonly handlers: number;
  };
  /** Channels were subscribed or unsubscribed: one command, for however many names. */
  'rollcall:subscribe': TimedEvent & {
    /** Which of the two. */
    readonly command: 'subscribe' | 'unsubscribe';
    /** What Redis knows them as. */
    readonly kind: string;
    /** The channels or patterns. */
    readonly channels: readonly string[];
  };
  /** A subscription has caught up with its channel's history, or could not. */
  'rollcall:recovery': TimedEvent & {
    /** The channel. */
    readonly channel: string;
    /** How many pages were read. */
    readonly pages: number;
    /** How many messages had not come live. */
    readonly messages: number;
    /** Nothing is missing. */
    readonly recovered: boolean;
  };
  /** Changes of presence were written and settled: one transaction. */
  'rollcall:presence-update': TimedEvent & {
    /** The partition. */
    readonly partition: number;
    /** How many changes. */
    readonly changes: number;
  };
  /** What a dead process left was removed. */
  'rollcall:reap': TimedEvent & {
    /** The dead process's node id. */
    readonly nodeId: string;
    /** How many of its sockets. */
    readonly sockets: number;
  };
}

/** One of the channels; costs a look at a boolean while nobody listens. */
class TelemetryChannel<Name extends keyof RollcallEvents> {
  readonly #channel: Channel;

  constructor(name: Name) {
    this.#channel = channel(name);
  }

  /** Somebody listens. */
  get hasSubscribers(): boolean {
    return this.#channel.hasSubscribers;
  }

  emit(event: RollcallEvents[Name]): void {
    this.#channel.publish(event);
  }
}

/** Where the parts of rollcall publish their events. */
export const telemetry = {
  publish: new TelemetryChannel('rollcall:publish'),
  deliver: new TelemetryChannel('rollcall:deliver'),
  discontinuity: new TelemetryChannel('rollcall:discontinuity'),
  subscribe: new TelemetryChannel('rollcall:subscribe'),
  recovery: new TelemetryChannel('rollcall:recovery'),
  settle: new TelemetryChannel('rollcall:presence-update'),
  reap: new TelemetryChannel('rollcall:reap'),
};

/** Times something that ends with an event. Nothing is measured unless somebody listens at its beginning. */
export class Stopwatch {
  readonly startedAt = Date.now();
  readonly #began = performance.now();

  /** The common part of the event. */
  stop(error?: Error): TimedEvent {
    const timed = { startedAt: this.startedAt, duration: performance.now() - this.#began };
    return error === undefined ? timed : { ...timed, error: redactError(error) };
  }
}

/** Causes are left out: clients attach to their errors the command, and so the payload. */
function redactError({ name, message, stack, ...more }: Error & { code?: unknown }): Error {
  const told = new Error(message);
  return Object.assign(told, { name, stack }, 'code' in more ? { code: more.code } : {});
}

/**
 * Calls `listener` with every event of one name, until the returned function is called. The same as
 * `subscribe` of `node:diagnostics_channel`, with types; what the listener throws becomes an uncaught
 * exception there, as Node has it.
 *
 * @example
 * ```ts
 * onTelemetry('rollcall:discontinuity', ({ channel, reason }) => gaps.inc({ channel, reason }));
 * ```
 */
export function onTelemetry<Name extends keyof RollcallEvents>(
  name: Name,
  listener: (event: RollcallEvents[Name]) => void,
): () => void {
  const events = channel(name);
  const listen = (event: unknown) => listener(event as RollcallEvents[Name]);
  events.subscribe(listen);
  return () => void events.unsubscribe(listen);
}
