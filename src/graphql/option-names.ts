import type { OptionNames } from '../internal/validate.js';
import type {
  GraphQLPubSubOptions,
  PayloadIteratorOptions,
  TriggerSubscribeOptions,
  YogaEventTargetOptions,
} from './options.js';

// The compiler keeps these names complete, so that a misspelt option is rejected.

export const GRAPHQL_PUBSUB_OPTION_NAMES: OptionNames<GraphQLPubSubOptions> = {
  pubsub: true,
  history: true,
  discontinuities: true,
  capacity: true,
  mapMessage: true,
  onError: true,
};

export const PAYLOAD_ITERATOR_OPTION_NAMES: OptionNames<PayloadIteratorOptions> = {
  pattern: true,
  signal: true,
  since: true,
  discontinuities: true,
  capacity: true,
  mapMessage: true,
};

export const TRIGGER_SUBSCRIBE_OPTION_NAMES: OptionNames<TriggerSubscribeOptions> = {
  pattern: true,
  since: true,
  onDiscontinuity: true,
};

export const YOGA_EVENT_TARGET_OPTION_NAMES: OptionNames<YogaEventTargetOptions> = {
  pubsub: true,
  history: true,
  mapMessage: true,
  onDiscontinuity: true,
  onError: true,
};
