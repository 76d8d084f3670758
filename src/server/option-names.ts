import type { OptionNames } from '../internal/validate.js';
import type { ConnectionHandlerOptions, HttpHandlerOptions, ServeCloseOptions } from './options.js';

// The compiler keeps these names complete, so that a misspelt option is rejected.

export const CONNECTION_HANDLER_OPTION_NAMES: OptionNames<ConnectionHandlerOptions> = {
  rooms: true,
  authenticate: true,
  authorize: true,
  visible: true,
  requests: true,
  onConnect: true,
  onDisconnect: true,
  identityChange: true,
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

export const HTTP_HANDLER_OPTION_NAMES: OptionNames<HttpHandlerOptions> = {
  ...CONNECTION_HANDLER_OPTION_NAMES,
  origins: true,
};

export const SERVE_CLOSE_OPTION_NAMES: OptionNames<ServeCloseOptions> = {
  drainPeriod: true,
  handoff: true,
};
