import type { ErrorReporter } from '../internal/diagnostics.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Bans } from './bans.js';
import type { ChannelAnchors } from './channel-anchors.js';
import type { MemberFeeds } from './member-feeds.js';
import type { PeerWriter, PeerWriterSettings } from './peer-writer.js';
import type { PresenceFeed } from './presence-feed.js';
import type { MessageParser, RoomEvent } from './room-message.js';
import type { TaskQueue } from './task-queue.js';

export interface MemberSocket {
  readonly id: string;
  /** Changes with `identify`. */
  readonly userId: string;
  /** The same on each connection of the client. */
  readonly clientId: string;
  readonly writer: PeerWriter;
}

/** Shared by the sockets of a service. */
export interface RoomContext {
  readonly pubsub: PubSubService;
  readonly presence: PresenceService | undefined;
  readonly reporter: ErrorReporter;
  readonly writerSettings: PeerWriterSettings;
  readonly parser: MessageParser;
  /** Releases detached sockets, many at a time. */
  readonly releases: TaskQueue;
  /** Permissions to ask for again, of a few sockets at a time. */
  readonly checks: TaskQueue;
  readonly roomAnchors: ChannelAnchors;
  /** Their listener also handles `disconnectUser` and `kick`. */
  readonly userAnchors: ChannelAnchors;
  readonly memberFeeds: MemberFeeds | undefined;
  /** Of memberships, in ms; 0: none. */
  readonly grace: number;
  /** `undefined`: no user is banned. */
  readonly bans: Bans | undefined;
  readonly presenceFeed: PresenceFeed | undefined;
  roomChannel(room: string): ChannelRef<RoomEvent>;
  userChannel(userId: string): ChannelRef<RoomEvent>;
  /** Messages to this user that concern their sockets now reach the socket, too. */
  addUser(socketId: string, userId: string): void;
  removeUser(socketId: string, userId: string): void;
  onDetached(socketId: string): void;
}
