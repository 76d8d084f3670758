import type { OptionNames } from '../internal/validate.js';
import type {
  AttachOptions,
  BroadcastOptions,
  DetachOptions,
  ForgetUserOptions,
  IdentifyOptions,
  JoinOptions,
  KickOptions,
  LeaveOptions,
  RevokeOptions,
  RoomServiceOptions,
} from './options.js';

// The compiler keeps these names complete, so that a misspelt option is rejected.

export const ROOM_SERVICE_OPTION_NAMES: OptionNames<RoomServiceOptions> = {
  pubsub: true,
  presence: true,
  history: true,
  sharded: true,
  grace: true,
  bans: true,
  maxBufferedBytes: true,
  slowPeers: true,
  onError: true,
  clock: true,
};

export const ATTACH_OPTION_NAMES: OptionNames<AttachOptions> = {
  userId: true,
  socketId: true,
  clientId: true,
  status: true,
  meta: true,
  since: true,
  visible: true,
};

export const FORGET_USER_OPTION_NAMES: OptionNames<ForgetUserOptions> = {
  keepSockets: true,
  reason: true,
  messagesIn: true,
};

export const DETACH_OPTION_NAMES: OptionNames<DetachOptions> = {
  immediate: true,
  handoff: true,
};

export const IDENTIFY_OPTION_NAMES: OptionNames<IdentifyOptions> = {
  status: true,
  meta: true,
  user: true,
  authorize: true,
};

export const LEAVE_OPTION_NAMES: OptionNames<LeaveOptions> = {
  notify: true,
};

export const JOIN_OPTION_NAMES: OptionNames<JoinOptions> = {
  since: true,
  last: true,
  info: true,
  members: true,
};

export const KICK_OPTION_NAMES: OptionNames<KickOptions> = {
  reason: true,
  ban: true,
};

export const REVOKE_OPTION_NAMES: OptionNames<RevokeOptions> = {
  watch: true,
  members: true,
};

export const BROADCAST_OPTION_NAMES: OptionNames<BroadcastOptions> = {
  except: true,
  from: true,
  transient: true,
  idempotencyKey: true,
};
