import type { Client } from '../client/index.js';
import { ConnectionStore } from './connection-store.js';
import { NotificationStore } from './notification-store.js';
import { PresenceStore } from './presence-store.js';
import { SharedRoom } from './shared-room.js';
import { UnreadStore } from './unread-store.js';

/** Time in ms that a suspended component has to mount, before what it waited for is released. */
const MOUNT_TIMEOUT = 5_000;

const registries = new WeakMap<Client, ClientRegistry>();

/** Shared by all components of one client. */
export class ClientRegistry {
  readonly client: Client;
  readonly presences: PresenceStore;
  readonly connection: ConnectionStore;
  readonly notifications: NotificationStore;
  readonly #rooms = new Map<string, SharedRoom>();
  /** Of suspended components. */
  readonly #loads = new Map<string, Promise<void>>();
  /** Kept, because each has the mark of what is read. */
  readonly #unread = new Map<string, UnreadStore>();

  private constructor(client: Client) {
    this.client = client;
    this.presences = new PresenceStore(client);
    this.connection = new ConnectionStore(client);
    this.notifications = new NotificationStore(client);
  }

  /**
   * For a component that suspends: subscribes until `isSettled`, and somewhat longer, because the component has no
   * effects before it mounts. `id`: the same for the same subscription.
   */
  load(id: string, subscribe: (listener: () => void) => () => void, isSettled: () => boolean): Promise<void> {
    const known = this.#loads.get(id);
    if (known) return known;
    let settled = false;
    const loading = new Promise<void>((resolve) => {
      let release = (): void => {};
      const check = () => {
        if (settled || !isSettled()) return;
        settled = true;
        // A later component that suspends needs a promise that is not resolved.
        this.#loads.delete(id);
        resolve();
        setTimeout(() => release(), MOUNT_TIMEOUT);
      };
      release = subscribe(check);
      check();
    });
    if (!settled) this.#loads.set(id, loading);
    return loading;
  }

  /** Without effect on the client, so it may be called while rendering. */
  static of(client: Client): ClientRegistry {
    const registry = registries.get(client) ?? new ClientRegistry(client);
    registries.set(client, registry);
    return registry;
  }

  /** The room is removed after the last release. */
  room(name: string): SharedRoom {
    const known = this.#rooms.get(name);
    if (known) return known;
    const room = new SharedRoom(this.client, name, () => this.#rooms.delete(name));
    this.#rooms.set(name, room);
    return room;
  }

  /** `key`: equal for equal `names`. */
  unread(name: string, key: string, names: readonly string[] | undefined): UnreadStore {
    const id = `${key} ${name}`;
    const known = this.#unread.get(id);
    if (known) return known;
    const store = new UnreadStore(this.client, () => this.room(name), names);
    this.#unread.set(id, store);
    return store;
  }

  known(name: string): SharedRoom | undefined {
    return this.#rooms.get(name);
  }
}
