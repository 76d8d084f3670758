import type { HistoryOptions } from '../history/append.js';
import { resolveHistoryOptions } from '../history/options.js';
import { assertErrorListener, ErrorReporter } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertFunction, assertOptions, describeValue, numberOption } from '../internal/validate.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import { GRAPHQL_PUBSUB_OPTION_NAMES } from './option-names.js';
import type { GraphQLPubSubOptions } from './options.js';
import type { PayloadSettings } from './payload-iterator.js';

/** Validated options with defaults filled in. */
export interface GraphQLPubSubSettings extends PayloadSettings {
  readonly pubsub: PubSubService;
  readonly history: HistoryOptions | undefined;
  readonly reporter: ErrorReporter;
}

/** @throws {@link InvalidArgumentError} for an invalid option. */
export function resolveSettings(options: GraphQLPubSubOptions): GraphQLPubSubSettings {
  if (typeof options?.pubsub?.messages !== 'function') {
    throw new InvalidArgumentError('pubsub', 'must be a PubSubService: pass the pubsub of createRollcall');
  }
  assertOptions('options', options, GRAPHQL_PUBSUB_OPTION_NAMES);
  const { pubsub, history, onError } = options;
  if (history !== undefined) resolveHistoryOptions(history);
  assertErrorListener(onError);
  const reporter = new ErrorReporter(onError);
  const defaults: PayloadSettings = {
    discontinuities: 'error',
    capacity: 1_000,
    mapMessage: (message) => message,
  };
  return { ...resolvePayloadSettings(options, defaults), pubsub, history, reporter };
}

/** @throws {@link InvalidArgumentError} for an invalid option. */
export function resolvePayloadSettings(
  options: Pick<GraphQLPubSubOptions, keyof PayloadSettings>,
  defaults: PayloadSettings,
): PayloadSettings {
  const { discontinuities = defaults.discontinuities, mapMessage = defaults.mapMessage } = options;
  if (discontinuities !== 'error' && discontinuities !== 'ignore' && typeof discontinuities !== 'function') {
    const given = describeValue(discontinuities);
    throw new InvalidArgumentError(
      'discontinuities',
      `must be 'error', 'ignore' or a function, not ${given}`,
    );
  }
  assertFunction('mapMessage', mapMessage);
  const capacity = numberOption('capacity', options.capacity, defaults.capacity, { min: 1, integer: true });
  return { discontinuities, capacity, mapMessage };
}
