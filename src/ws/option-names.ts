import type { OptionNames } from '../internal/validate.js';
import type { ServeCloseOptions, ServeOptions } from './options.js';

// The compiler keeps these names complete, so that a misspelt option is rejected.

export const SERVE_OPTION_NAMES: OptionNames<ServeOptions> = {
  rooms: true,
  authenticate: true,
  authorize: true,
  requests: true,
  typing: true,
  rateLimit: true,
  rateLimitKey: true,
  maxFrameBytes: true,
  maxRooms: true,
  maxWatched: true,
  heartbeatInterval: true,
  pongTimeout: true,
  refuseWith: true,
  onError: true,
  clock: true,
};

export const SERVE_CLOSE_OPTION_NAMES: OptionNames<ServeCloseOptions> = {
  drainPeriod: true,
  handoff: true,
};
