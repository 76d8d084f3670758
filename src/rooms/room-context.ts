import type { ErrorReporter } from '../internal/diagnostics.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { ChannelAnchors } from './channel-anchors.js';
import type { MessageParser } from './encoded-frame.js';
import type { MemberFeeds } from './member-feeds.js';
import type { PeerWriter, PeerWriterSettings } from './peer-writer.js';
import type { PresenceFeed } from './presence-feed.js';
import type { RoomEvent } from './room-message.js';

/** A socket, as its service knows it. */
export interface SocketIdentifiers {
  readonly id: string;
  readonly userId: string;
}

/** What the sockets of one service share. */
export interface RoomContext {
  readonly pubsub: PubSubService;
  readonly presence: PresenceService | undefined;
  readonly reporter: ErrorReporter;
  readonly outlets: PeerWriterSettings;
  readonly rooms: ChannelAnchors;
  /** They hear when a user is to be disconnected. */
  readonly users: ChannelAnchors;
  readonly rosters: MemberFeeds | undefined;
  readonly watched: PresenceFeed | undefined;
  readonly reading: MessageParser;
  room(name: string): ChannelRef<RoomEvent>;
  user(id: string): ChannelRef<RoomEvent>;
  /** The socket is not attached any more. */
  detached(socket: SocketIdentifiers): void;
}

/** Whose place it is, and the way out to him. */
export interface MemberSocket {
  readonly id: string;
  readonly userId: string;
  readonly outlet: PeerWriter;
}
