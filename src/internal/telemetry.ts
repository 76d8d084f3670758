import { type Channel, channel } from 'node:diagnostics_channel';
import { captureAsyncContext, runWithoutAsyncContext } from './async-context.js';

/** The common fields of events with a duration. */
export interface TimedEvent {
  /** Start time, in ms since the epoch. */
  readonly startedAt: number;
  /** Duration, in ms. */
  readonly duration: number;
  /** The error; absent on success. */
  readonly error?: Error;
}

/**
 * The events on `node:diagnostics_channel`, by channel name. They contain names, counts and times, never the
 * content of a message.
 */
export interface RollcallEvents {
  /** A call of `publish` has ended. */
  'rollcall:publish': TimedEvent & {
    /** The channel, with the service's prefix. */
    readonly channel: string;
    /** Size of the payload: bytes, or characters if it is text. */
    readonly size: number;
    /** It was published with history. */
    readonly history: boolean;
    /** Subscribed connections that received it, if known. */
    readonly receivers?: number;
    /** Its position in the history. */
    readonly position?: string;
  };
  /** A message was dispatched to handlers: received live, or read from history. */
  'rollcall:deliver': {
    /** Kind of the subscription: `channel`, `pattern` or `sharded`. */
    readonly kind: string;
    /** The channel it was published to. */
    readonly channel: string;
    /** Size of the payload: bytes, or characters if it is text. */
    readonly size: number;
    /** Number of handlers. */
    readonly handlers: number;
    /** Its position in the history, if it has one. */
    readonly position?: string;
  };
  /** Messages may be missing, or were missing until they were recovered. */
  'rollcall:discontinuity': {
    /** Kind of the subscription. */
    readonly kind: string;
    /** The channel or pattern. */
    readonly channel: string;
    /** The reason; see `DiscontinuityReason`. */
    readonly reason: string;
    /** Until when no message is missing, in ms since the epoch. */
    readonly since: number;
    /** All missing messages have been delivered. */
    readonly recovered: boolean;
    /** Number of affected handlers. */
    readonly handlers: number;
  };
  /** Channels were subscribed or unsubscribed: one event per command, with all its names. */
  'rollcall:subscribe': TimedEvent & {
    /** The command. */
    readonly command: 'subscribe' | 'unsubscribe';
    /** Kind of the subscriptions. */
    readonly kind: string;
    /** The channels or patterns. */
    readonly channels: readonly string[];
  };
  /** A subscription has caught up from its channel's history, or failed to. */
  'rollcall:recovery': TimedEvent & {
    /** The channel. */
    readonly channel: string;
    /** Number of pages read. */
    readonly pages: number;
    /** Number of messages that had not been received live. */
    readonly messages: number;
    /** No message is missing. */
    readonly recovered: boolean;
  };
  /** One transaction of presence changes was written. */
  'rollcall:presence-update': TimedEvent & {
    /** The partition. */
    readonly partition: number;
    /** Number of changes. */
    readonly changes: number;
  };
  /** The sockets of a dead node were removed. */
  'rollcall:reap': TimedEvent & {
    /** Id of the dead node. */
    readonly nodeId: string;
    /** Number of its sockets. */
    readonly sockets: number;
  };
}

/** Costs one boolean test without subscribers. */
class TelemetryChannel<Name extends keyof RollcallEvents> {
  readonly #channel: Channel;

  constructor(name: Name) {
    this.#channel = channel(name);
  }

  get hasSubscribers(): boolean {
    return this.#channel.hasSubscribers;
  }

  /** Outside of any async context: an operation may serve several callers. */
  emit(event: RollcallEvents[Name]): void {
    runWithoutAsyncContext(() => this.#channel.publish(event));
  }

  /** Emits in the async context of this call; `undefined` without subscribers. */
  emitterForCaller(): ((event: RollcallEvents[Name]) => void) | undefined {
    if (!this.hasSubscribers) return undefined;
    const run = captureAsyncContext();
    return (event) => run(() => this.#channel.publish(event));
  }
}

export const telemetry = {
  publish: new TelemetryChannel('rollcall:publish'),
  deliver: new TelemetryChannel('rollcall:deliver'),
  discontinuity: new TelemetryChannel('rollcall:discontinuity'),
  subscribe: new TelemetryChannel('rollcall:subscribe'),
  recovery: new TelemetryChannel('rollcall:recovery'),
  settle: new TelemetryChannel('rollcall:presence-update'),
  reap: new TelemetryChannel('rollcall:reap'),
};

/** Created only if the channel has a subscriber. */
export class Stopwatch {
  readonly startedAt = Date.now();
  readonly #began = performance.now();

  stop(error?: Error): TimedEvent {
    const timed = { startedAt: this.startedAt, duration: performance.now() - this.#began };
    return error === undefined ? timed : { ...timed, error: redactError(error) };
  }
}

/** Omits `cause`, because clients attach the command, and so the payload, to errors. */
function redactError({ name, message, stack, ...more }: Error & { code?: unknown }): Error {
  const redacted = new Error(message);
  return Object.assign(redacted, { name, stack }, 'code' in more ? { code: more.code } : {});
}

/**
 * Calls `listener` with every event of one name until the returned function is called. A typed `subscribe` of
 * `node:diagnostics_channel`; as there, an error thrown by the listener becomes an uncaught exception.
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
