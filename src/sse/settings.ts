import { type Clock, clockOption } from '../internal/clock.js';
import { assertErrorListener, ErrorReporter } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertOptions, numberOption } from '../internal/validate.js';
import { ChannelSource } from './channel-source.js';
import { CHANNEL_STREAM_OPTION_NAMES, ROOM_STREAM_OPTION_NAMES } from './option-names.js';
import type { EventStreamOptions, StreamOptions } from './options.js';
import { RoomSource } from './room-source.js';
import type { StreamSource } from './stream-source.js';

export interface EventStreamSettings {
  readonly retry: number;
  readonly keepAliveInterval: number;
  readonly signal: AbortSignal | undefined;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly reporter: ErrorReporter;
  readonly clock: Clock;
  readonly source: StreamSource;
}

/** @throws {@link InvalidArgumentError} for an option out of range. */
export function resolveSettings(
  options: EventStreamOptions,
  lastEventId: string | undefined,
): EventStreamSettings {
  assertOptions('options', options ?? null);
  const { onError, signal } = options;
  const clock = clockOption(options.clock);
  assertErrorListener(onError);
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw new InvalidArgumentError('signal', 'must be an AbortSignal');
  }
  return {
    retry: numberOption('retry', options.retry, 2_000, { unit: 'ms', min: 1, max: 86_400_000 }),
    keepAliveInterval: numberOption('keepAliveInterval', options.keepAliveInterval, 15_000, {
      unit: 'ms',
      min: 1,
      max: 86_400_000,
    }),
    signal,
    headers: resolveHeaders(options.headers),
    reporter: new ErrorReporter(onError),
    clock,
    source: createSource(options, lastEventId),
  };
}

// RoomSource has its own error for maxBufferedBytes.
const OTHER_NAMES = { maxBufferedBytes: true, rooms: true, pubsub: true } as const;
const CHANNEL_NAMES = { ...CHANNEL_STREAM_OPTION_NAMES, ...OTHER_NAMES };
const ROOM_NAMES = { ...ROOM_STREAM_OPTION_NAMES, ...OTHER_NAMES };

function createSource(options: EventStreamOptions, lastEventId: string | undefined): StreamSource {
  const given = options as { pubsub?: unknown; rooms?: unknown };
  if ((given.pubsub === undefined) === (given.rooms === undefined)) {
    throw new InvalidArgumentError('options', 'must have either pubsub and channels, or rooms and a user');
  }
  assertOptions('options', options, given.rooms === undefined ? CHANNEL_NAMES : ROOM_NAMES);
  return 'rooms' in options && options.rooms !== undefined
    ? new RoomSource(options, lastEventId)
    : new ChannelSource(options as Exclude<typeof options, { rooms: unknown }>, lastEventId);
}

function resolveHeaders(given: StreamOptions['headers']): Record<string, string | readonly string[]> {
  assertOptions('headers', given);
  const headers: Record<string, string | readonly string[]> = {
    'cache-control': 'no-cache, no-transform',
    // nginx would buffer events.
    'x-accel-buffering': 'no',
  };
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value !== undefined) headers[name.toLowerCase()] = Array.isArray(value) ? value : String(value);
  }
  headers['content-type'] = 'text/event-stream; charset=utf-8';
  return headers;
}
