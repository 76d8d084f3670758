import type { OptionNames } from '../internal/validate.js';
import type {
  AcknowledgeOptions,
  NotificationListOptions,
  NotificationServiceOptions,
  NotifyOptions,
} from './options.js';

// The compiler keeps these names complete, so that a misspelt option is rejected.

export const NOTIFICATION_SERVICE_OPTION_NAMES: OptionNames<NotificationServiceOptions> = {
  rooms: true,
  history: true,
  onError: true,
};

export const NOTIFY_OPTION_NAMES: OptionNames<NotifyOptions> = {
  idempotencyKey: true,
  live: true,
};

export const NOTIFICATION_LIST_OPTION_NAMES: OptionNames<NotificationListOptions> = {
  before: true,
  limit: true,
};

export const ACKNOWLEDGE_OPTION_NAMES: OptionNames<AcknowledgeOptions> = {
  except: true,
};
