import { DISCONNECT_EVENT } from '../protocol/frames.js';
import { defineChannel } from '../pubsub/channel-definition.js';
import { PubSubService } from '../pubsub/pubsub-service.js';
import { databaseSuffix } from '../redis/database.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand, CommandContext } from './command.js';

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

/** Sends RoomService's own event to the processes that have sockets of a user. */
export class UserChannel {
  readonly #pubsub: PubSubService;
  readonly #suffix: string;
  readonly #sharded: boolean;

  constructor(connection: CliConnection, values: CommandContext['values']) {
    this.#pubsub = new PubSubService({
      redis: connection.client,
      prefix: String(values['pubsub-prefix'] ?? ''),
      timeout: connection.timeout,
      probeInterval: 0,
      onError: null,
    });
    this.#suffix = databaseSuffix(connection.address.database);
    this.#sharded = values['sharded'] === true;
  }

  /** Closes all connections of the user for good, or asks the client of one socket to reconnect. */
  async disconnect(userId: string, data: DisconnectData): Promise<void> {
    const { name } = defineChannel()(`user${this.#suffix}:{user}`, {})({ user: userId });
    // Transient: to store it would apply a history size that this program does not know.
    const options = { transient: true, sharded: this.#sharded };
    await this.#pubsub.publish(name, { event: DISCONNECT_EVENT, data }, options);
  }

  close(): Promise<void> {
    return this.#pubsub.close();
  }
}
