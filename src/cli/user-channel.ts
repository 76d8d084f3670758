import { DISCONNECT_EVENT, KICK_EVENT } from '../protocol/frames.js';
import { defineChannel } from '../pubsub/channel-definition.js';
import { PubSubService } from '../pubsub/pubsub-service.js';
import { databaseSuffix } from '../redis/database.js';
import { Bans } from '../rooms/bans.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand, CommandContext } from './command.js';
import { pubsubPrefix } from './values.js';

/** Options of commands that send messages to RoomService. */
export const ROOM_SERVICE_OPTIONS: CliCommand['options'] = {
  'pubsub-prefix': { type: 'string', help: 'prefix of your PubSubService (default: none)' },
  sharded: { type: 'boolean', help: 'your RoomService has the option sharded' },
};

interface DisconnectData {
  readonly reason: string;
  /** Only this socket of `nodeId`. */
  readonly socketId?: string;
  readonly nodeId?: string;
}

interface KickData {
  readonly room: string;
  readonly reason: string;
  /** In ms. */
  readonly ban?: number;
}

/** Sends RoomService's own events to the processes that have sockets of a user. */
export class UserChannel {
  readonly #pubsub: PubSubService;
  readonly #suffix: string;
  readonly #sharded: boolean;

  constructor(connection: CliConnection, values: CommandContext['values']) {
    this.#pubsub = new PubSubService({
      redis: connection.client,
      prefix: pubsubPrefix(values),
      timeout: connection.timeout,
      probeInterval: 0,
      onError: null,
    });
    this.#suffix = databaseSuffix(connection.address.database);
    this.#sharded = values['sharded'] === true;
  }

  /** Closes all connections of the user for good, or asks the client of one socket to reconnect. */
  async disconnect(userId: string, data: DisconnectData): Promise<void> {
    await this.#send(userId, DISCONNECT_EVENT, data);
  }

  /** Puts the user out of a room. */
  async kick(userId: string, { ban, ...data }: KickData): Promise<void> {
    // Before the message: a socket that has left must not come back in between.
    if (ban !== undefined) await new Bans(this.#pubsub).set(data.room, userId, data.reason, ban);
    await this.#send(userId, KICK_EVENT, data);
  }

  async #send(userId: string, event: string, data: DisconnectData | KickData): Promise<void> {
    const { name } = defineChannel()(`user${this.#suffix}:{user}`, {})({ user: userId });
    // Transient: to store it would apply a history size that this program does not know.
    const options = { transient: true, sharded: this.#sharded };
    await this.#pubsub.publish(name, { event, data: { ...data } }, options);
  }

  close(): Promise<void> {
    return this.#pubsub.close();
  }
}
