'use client';

export type { ConnectionView } from './connection-store.js';
export {
  type AnyClient,
  RollcallContext,
  RollcallProvider,
  type RollcallProviderProps,
  useRollcall,
} from './context.js';
export type { EventStreamView, StreamEvent, StreamState } from './event-stream-store.js';
export type { ClientNotification, NotificationsView } from './notification-store.js';
export type { RoomDiscontinuity, RoomView, TimelineEvent, UseRoomOptions } from './types.js';
export type { TypingView } from './typing-store.js';
export type { UnreadView } from './unread-store.js';
export { useConnection } from './use-connection.js';
export { type UseEventStreamOptions, useEventStream } from './use-event-stream.js';
export { useNotifications, useSuspenseNotifications } from './use-notifications.js';
export { usePresence } from './use-presence.js';
export { useMember, useRoom, useRoomCount, useSuspenseRoom } from './use-room.js';
export { useErrorListener, useRoomEvent, useUserEvent } from './use-room-event.js';
export { useTyping } from './use-typing.js';
export { type UseUnreadOptions, useUnread } from './use-unread.js';
