import type { OptionNames } from '../internal/validate.js';
import type {
  HistoryReadOptions,
  MessagesOptions,
  PublishOptions,
  PubSubOptions,
  RecoverRequest,
  SubscribeOptions,
} from './options.js';

// The names of all options, so that a misspelt one is refused: the compiler keeps them complete.

export const PUBSUB_OPTION_NAMES: OptionNames<PubSubOptions> = {
  redis: true,
  prefix: true,
  codec: true,
  maxMessageBytes: true,
  timeout: true,
  unsubscribeDelay: true,
  probeInterval: true,
  onError: true,
  clock: true,
};

export const PUBLISH_OPTION_NAMES: OptionNames<PublishOptions> = {
  sharded: true,
  history: true,
  transient: true,
  idempotencyKey: true,
};

const COMMON_SUBSCRIBE_NAMES: OptionNames<Omit<SubscribeOptions, 'backpressure'>> = {
  signal: true,
  raw: true,
  sharded: true,
  since: true,
  onDiscontinuity: true,
};

export const SUBSCRIBE_OPTION_NAMES: OptionNames<SubscribeOptions> = {
  ...COMMON_SUBSCRIBE_NAMES,
  backpressure: true,
};

export const MESSAGES_OPTION_NAMES: OptionNames<MessagesOptions> = {
  ...COMMON_SUBSCRIBE_NAMES,
  pattern: true,
  capacity: true,
  overflow: true,
  discontinuities: true,
};

export const HISTORY_READ_OPTION_NAMES: OptionNames<HistoryReadOptions> = {
  since: true,
  before: true,
  limit: true,
  reverse: true,
};

export const RECOVER_REQUEST_NAMES: OptionNames<RecoverRequest> = {
  channels: true,
  limit: true,
};
