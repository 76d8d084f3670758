import type { OptionNames } from '../internal/validate.js';
import type {
  RelayOptions,
  RevokeWatchesOptions,
  SocketSubscribeOptions,
  TrackPresenceOptions,
} from './options.js';

// The compiler keeps these names complete, so that a misspelt option is rejected.

export const TRACK_PRESENCE_OPTION_NAMES: OptionNames<TrackPresenceOptions> = {
  presence: true,
  pubsub: true,
  identify: true,
  authorize: true,
  visible: true,
  rooms: true,
  touch: true,
  recoveryGrace: true,
  maxWatched: true,
  maxSubscriptions: true,
  onError: true,
  clock: true,
};

export const SOCKET_SUBSCRIBE_OPTION_NAMES: OptionNames<SocketSubscribeOptions> = {
  event: true,
  since: true,
  sharded: true,
};

export const RELAY_OPTION_NAMES: OptionNames<RelayOptions> = {
  event: true,
  since: true,
  sharded: true,
  room: true,
};

export const REVOKE_OPTION_NAMES: OptionNames<RevokeWatchesOptions> = { watch: true };

/** Second argument of `presence:watch`. */
export const WATCH_REQUEST_OPTION_NAMES: OptionNames<{ batch?: boolean }> = { batch: true };
