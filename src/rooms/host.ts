import type { ErrorReporter } from '../internal/diagnostics.js';
import type { PresenceService } from '../presence/presence-service.js';
import type { ChannelRef } from '../pubsub/channel-definition.js';
import type { MessageContext } from '../pubsub/delivery.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Keepers } from './keepers.js';
import type { OutletSettings } from './outlet.js';
import { Outgoing } from './peer.js';
import { type RoomEvent, type RoomMessage, readMessage } from './room-message.js';
import type { Rosters } from './rosters.js';
import type { WatchedUsers } from './watched-users.js';

/** A socket, as its service knows it. */
export interface Attached {
  readonly id: string;
  readonly userId: string;
}

/** What the sockets of one service share. */
export interface RoomHost {
  readonly pubsub: PubSubService;
  readonly presence: PresenceService | undefined;
  readonly reporter: ErrorReporter;
  readonly outlets: OutletSettings;
  readonly rooms: Keepers;
  /** They hear when a user is to be disconnected. */
  readonly users: Keepers;
  readonly rosters: Rosters | undefined;
  readonly watched: WatchedUsers | undefined;
  readonly reading: Reading;
  room(name: string): ChannelRef<RoomEvent>;
  user(id: string): ChannelRef<RoomEvent>;
  /** The socket is not attached any more. */
  detached(socket: Attached): void;
}

/** A message that was read, and is ready for peers. */
export interface ReadMessage {
  readonly message: RoomMessage;
  readonly outgoing: Outgoing;
}

/**
 * Reads messages: each once, although every peer has a handler of its own. They are called one after the
 * other with one and the same context, so remembering the last one is enough.
 */
export class Reading {
  readonly #failed: (channel: string) => void;
  #context: MessageContext | undefined;
  #read: ReadMessage | undefined;

  constructor(failed: (channel: string) => void) {
    this.#failed = failed;
  }

  /** What `payload` holds; `undefined` when it is no message, which is reported once. */
  read(room: string | undefined, payload: string, context: MessageContext): ReadMessage | undefined {
    if (context === this.#context) return this.#read;
    this.#context = context;
    this.#read = undefined;
    const message = readMessage(room, context.position, payload);
    this.#read = message && { message, outgoing: Outgoing.message(message) };
    if (message === undefined) this.#failed(context.channel);
    return this.#read;
  }
}
