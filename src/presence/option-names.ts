import type { OptionNames } from '../internal/validate.js';
import type {
  ClosePresenceOptions,
  ForgetOptions,
  JoinRoomOptions,
  LookupCacheOptions,
  OnlineUsersOptions,
  PresenceOptions,
  ReadOptions,
  RemoveSocketOptions,
  SetPresenceOptions,
  SetStatusOptions,
  WatchOptions,
} from './options.js';

// The names of all options, so that a misspelt one is refused: the compiler keeps them complete.

export const PRESENCE_OPTION_NAMES: OptionNames<PresenceOptions> = {
  redis: true,
  prefix: true,
  partitions: true,
  nodeName: true,
  grace: true,
  lease: true,
  sweepInterval: true,
  statusPriority: true,
  idleAfter: true,
  touchInterval: true,
  maxSocketsPerUser: true,
  maxMetaBytes: true,
  keyTtl: true,
  lastSeenTtl: true,
  maxFailureRatio: true,
  lookupCache: true,
  socketTtl: true,
  background: true,
  timeout: true,
  onError: true,
  clock: true,
};

export const LOOKUP_CACHE_OPTION_NAMES: OptionNames<LookupCacheOptions> = {
  maxUsers: true,
  maxAge: true,
};

export const SET_PRESENCE_OPTION_NAMES: OptionNames<SetPresenceOptions> = {
  ttl: true,
};

export const JOIN_ROOM_OPTION_NAMES: OptionNames<JoinRoomOptions> = {
  grace: true,
};

export const REMOVE_SOCKET_OPTION_NAMES: OptionNames<RemoveSocketOptions> = {
  immediate: true,
};

export const SET_STATUS_OPTION_NAMES: OptionNames<SetStatusOptions> = {
  until: true,
  meta: true,
};

export const READ_OPTION_NAMES: OptionNames<ReadOptions> = {
  reveal: true,
};

export const WATCH_OPTION_NAMES: OptionNames<WatchOptions> = {
  signal: true,
};

export const ONLINE_USERS_OPTION_NAMES: OptionNames<OnlineUsersOptions> = {
  pageSize: true,
  signal: true,
};

export const CLOSE_OPTION_NAMES: OptionNames<ClosePresenceOptions> = {
  handoff: true,
};

export const FORGET_OPTION_NAMES: OptionNames<ForgetOptions> = {
  keepSockets: true,
  reason: true,
};
