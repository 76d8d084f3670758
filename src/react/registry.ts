import type { Client } from '../client/index.js';
import { ConnectionStore } from './connection-store.js';
import { PresenceStore } from './presence-store.js';
import { SharedRoom } from './shared-room.js';

const registries = new WeakMap<Client, ClientRegistry>();

/** What the components of one client share. */
export class ClientRegistry {
  readonly client: Client;
  readonly people: PresenceStore;
  readonly connection: ConnectionStore;
  readonly #rooms = new Map<string, SharedRoom>();

  private constructor(client: Client) {
    this.client = client;
    this.people = new PresenceStore(client);
    this.connection = new ConnectionStore(client);
  }

  /** That of `client`. Making it does nothing with the client. */
  static of(client: Client): ClientRegistry {
    const registry = registries.get(client) ?? new ClientRegistry(client);
    registries.set(client, registry);
    return registry;
  }

  /** A room, which has to be held. */
  room(name: string): SharedRoom {
    const known = this.#rooms.get(name);
    if (known) return known;
    const room = new SharedRoom(this.client, name, () => this.#rooms.delete(name));
    this.#rooms.set(name, room);
    return room;
  }

  /** A room that somebody holds. */
  known(name: string): SharedRoom | undefined {
    return this.#rooms.get(name);
  }
}
