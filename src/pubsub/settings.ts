import { isPosition } from '../history/position.js';
import { type Clock, clockOption } from '../internal/clock.js';
import { assertCodec, type Codec, jsonCodec } from '../internal/codec.js';
import { assertErrorListener, type ErrorListener } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import {
  assertFunction,
  assertOptions,
  assertSignal,
  choiceOption,
  describeValue,
  numberOption,
  prefixOption,
} from '../internal/validate.js';
import type { OverflowPolicy } from './bounded-queue.js';
import type { StartPosition } from './catch-up-cursor.js';
import { PUBSUB_OPTION_NAMES } from './option-names.js';
import type { MessagesOptions, PubSubOptions, SubscribeOptions } from './options.js';
import { PROBE_INTERVAL } from './subscription-manager.js';

/** Validated options of a pub/sub service with defaults filled in. */
export interface PubSubSettings {
  readonly prefix: string;
  readonly codec: Codec;
  readonly maxMessageBytes: number;
  readonly timeout: number;
  readonly unsubscribeDelay: number;
  readonly probeInterval: number;
  readonly onError: ErrorListener | null | undefined;
  readonly clock: Clock;
}

const DEFAULT_MAX_BYTES = 1_048_576;

/** @throws {@link InvalidArgumentError} with the option, its value and the rule. */
export function resolveSettings(options: PubSubOptions): PubSubSettings {
  if (options === undefined)
    throw new InvalidArgumentError('options', 'must be an object with a redis client');
  assertOptions('options', options, PUBSUB_OPTION_NAMES);
  const { codec = jsonCodec, onError } = options;
  const clock = clockOption(options.clock);
  const timeout = numberOption('timeout', options.timeout, 5_000, { unit: 'ms', min: 1, max: 600_000 });
  const maxMessageBytes = numberOption('maxMessageBytes', options.maxMessageBytes, DEFAULT_MAX_BYTES, {
    min: 1,
    integer: true,
  });
  const prefix = prefixOption('prefix', options.prefix === '' ? undefined : options.prefix, '');
  const unsubscribeDelay = numberOption('unsubscribeDelay', options.unsubscribeDelay, 0, {
    unit: 'ms',
    min: 0,
    max: 600_000,
  });
  const probeInterval = numberOption('probeInterval', options.probeInterval, PROBE_INTERVAL, {
    unit: 'ms',
    min: 0,
    max: 86_400_000,
  });
  assertCodec('codec', codec);
  assertErrorListener(onError);
  return { prefix, codec, maxMessageBytes, timeout, unsubscribeDelay, probeInterval, onError, clock };
}

/** `channels` is the number of channels that share the queue. */
export function resolveQueueSettings(
  { onDiscontinuity, since, signal, capacity, overflow }: MessagesOptions,
  channels: number,
): {
  readonly capacity: number;
  readonly overflow: OverflowPolicy;
} {
  if (onDiscontinuity !== undefined) assertFunction('onDiscontinuity', onDiscontinuity);
  const start = toStartPosition(since);
  if (channels > 1 && typeof start === 'object') {
    throw new InvalidArgumentError(
      'since',
      'must not be a position, which belongs to one channel of several',
    );
  }
  assertSignal(signal);
  return {
    capacity: numberOption('capacity', capacity, 1_000, { min: 1, integer: true }),
    overflow: choiceOption('overflow', overflow, 'drop-oldest', ['drop-oldest', 'drop-newest', 'close']),
  };
}

/** @throws {@link InvalidArgumentError} for an invalid position. */
export function toStartPosition(since: SubscribeOptions['since']): StartPosition | undefined {
  if (since === undefined || since === 'latest' || since === 'earliest') return since;
  if (!isPosition(since)) {
    const given = describeValue(since);
    throw new InvalidArgumentError(
      'since',
      `must be 'latest', 'earliest' or a position returned by rollcall, not ${given}`,
    );
  }
  return { after: since };
}
