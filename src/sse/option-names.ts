import type { OptionNames } from '../internal/validate.js';
import type {
  ChannelStreamOptions,
  RoomStreamOptions,
  StreamChannel,
  StreamRoom,
  StreamUser,
} from './options.js';

// The compiler keeps these names complete, so that a misspelt option is rejected.

export const CHANNEL_STREAM_OPTION_NAMES: OptionNames<ChannelStreamOptions> = {
  retry: true,
  keepAliveInterval: true,
  signal: true,
  headers: true,
  onError: true,
  clock: true,
  pubsub: true,
  channels: true,
  maxBufferedBytes: true,
};

export const ROOM_STREAM_OPTION_NAMES: OptionNames<RoomStreamOptions> = {
  retry: true,
  keepAliveInterval: true,
  signal: true,
  headers: true,
  onError: true,
  clock: true,
  rooms: true,
  user: true,
  join: true,
  watch: true,
  visible: true,
};

export const STREAM_CHANNEL_NAMES: OptionNames<StreamChannel> = {
  channel: true,
  event: true,
  since: true,
  last: true,
  history: true,
  sharded: true,
};

export const STREAM_ROOM_NAMES: OptionNames<StreamRoom> = {
  since: true,
  last: true,
  info: true,
  members: true,
  room: true,
};

export const STREAM_USER_NAMES: OptionNames<StreamUser> = {
  userId: true,
  status: true,
  meta: true,
};
