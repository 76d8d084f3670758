import type { ErrorReporter } from '../internal/diagnostics.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { MessageContext } from '../pubsub/delivery.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { ChannelAnchors } from './channel-anchors.js';
import type { MemberFeeds } from './member-feeds.js';
import { EncodedFrame } from './peer.js';
import type { PeerWriterSettings } from './peer-writer.js';
import type { PresenceFeed } from './presence-feed.js';
import { parseRoomMessage, type RoomEvent, type RoomMessage } from './room-message.js';

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

/** A message that was read, and is ready for peers. */
export interface ParsedMessage {
  readonly message: RoomMessage;
  readonly outgoing: EncodedFrame;
}

/**
 * Reads messages: each once, although every peer has a handler of its own. They are called one after the
 * other with one and the same context, so remembering the last one is enough.
 */
export class MessageParser {
  readonly #failed: (channel: string) => void;
  #context: MessageContext | undefined;
  #read: ParsedMessage | undefined;

  constructor(failed: (channel: string) => void) {
    this.#failed = failed;
  }

  /** What `payload` holds; `undefined` when it is no message, which is reported once. */
  read(room: string | undefined, payload: string, context: MessageContext): ParsedMessage | undefined {
    if (context === this.#context) return this.#read;
    this.#context = context;
    this.#read = undefined;
    const message = parseRoomMessage(room, context.position, payload);
    this.#read = message && { message, outgoing: EncodedFrame.message(message) };
    if (message === undefined) this.#failed(context.channel);
    return this.#read;
  }
}
