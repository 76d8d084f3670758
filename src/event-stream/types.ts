import type { Unsubscribe } from '../client/emitter.js';
import type {
  ClientDiscontinuity,
  ClientState,
  CloseInfo,
  EventMap,
  EventName,
  Reconnecting,
} from '../client/types.js';

/** An event of a stream. */
export interface StreamEventContext {
  /** The name of the event; `message` if the server names none. */
  readonly event: string;
  /** The stream's last event id, which this event may have set; empty if the server sends none. */
  readonly id: string;
  /** From the history: from before the connection, or missed by it. False for live events, and for servers other than rollcall's. */
  readonly replayed: boolean;
  /** The text that `data` was parsed from. */
  readonly text: string;
}

/** Its error or rejection is emitted as `error`. */
export type StreamEventHandler<T> = (data: T, context: StreamEventContext) => unknown;

/** The events of a stream. */
export interface StreamEventSubscriber<E extends object> {
  /** Calls `handler` for every event, except the server's own, whose names begin with `$`. */
  on(event: '*', handler: StreamEventHandler<E[EventName<E>]>): Unsubscribe;
  /** Calls `handler` for each event with this name. The same function given twice is two handlers. */
  on<K extends EventName<E>>(event: K, handler: StreamEventHandler<E[K]>): Unsubscribe;
  /** Events of the server, such as `$presence`: see "Events in the browser" of the guide on event streams. */
  on(event: `$${string}`, handler: StreamEventHandler<unknown>): Unsubscribe;
}

/** Events in one channel or room of the stream may be missing before this point. */
export interface StreamDiscontinuity extends ClientDiscontinuity {
  /** The channel, if the server names one. */
  readonly channel?: string;
  /** The room, if the server names one. */
  readonly room?: string;
}

/** The stream is connected. */
export interface StreamOpenEvent {
  /** False for the first connection. */
  readonly reconnected: boolean;
}

/** The connection was lost or an attempt failed, and the stream will reconnect. */
export interface StreamReconnecting extends Reconnecting {
  /** The HTTP status of a refused attempt. */
  readonly status?: number;
}

/** The stream has ended permanently. */
export interface StreamCloseInfo extends CloseInfo {
  /** The HTTP status that forbids to reconnect. */
  readonly status?: number;
}

/** Events of the stream itself. */
export interface EventStreamClientEvents {
  /** `stream.state` has changed. */
  state: ClientState;
  /** The stream is connected. */
  open: StreamOpenEvent;
  /** The connection was lost or an attempt failed; the stream will reconnect. */
  reconnecting: StreamReconnecting;
  /** The stream will not reconnect. The last event. */
  closed: StreamCloseInfo;
  /** An error that no caller awaits: of a handler, of `url` or `headers`, or data that `parse` refuses. */
  error: unknown;
  /** Events may be missing. */
  discontinuity: StreamDiscontinuity;
}

/** A stream of events, from {@link connectEventStream}. */
export interface EventStreamClient<E extends object = EventMap> {
  /** Whether the stream is connected. */
  readonly state: ClientState;
  /** The position from which another stream continues, see {@link EventStreamClientOptions.lastEventId}; empty without ids. */
  readonly lastEventId: string;
  /** The events of the stream. */
  readonly events: StreamEventSubscriber<E>;
  /** Calls `handler` for an event of the stream itself. */
  on<K extends keyof EventStreamClientEvents>(
    name: K,
    handler: (info: EventStreamClientEvents[K]) => unknown,
  ): Unsubscribe;
  /** Connects again after a back-off, resuming after the last event; while waiting, at once. */
  reconnect(): void;
  /** Ends the stream permanently. */
  close(): void;
}
