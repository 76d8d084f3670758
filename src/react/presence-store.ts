import type { Client, ClientPresenceWatch, ClientState, UserPresence } from '../client/index.js';
import { Listeners } from './listeners.js';
import { RefCounted } from './ref-counted.js';

interface PresenceEntry {
  readonly refCount: RefCounted;
  readonly listeners: Listeners;
  presence: UserPresence | undefined;
}

/** One watch for all components. */
export class PresenceStore {
  readonly #client: Client;
  readonly #entries = new Map<string, PresenceEntry>();
  #watch: ClientPresenceWatch | undefined;
  #stopListening: (() => void) | undefined;
  /** Users to watch once all effects of this render have run. */
  readonly #pending: string[] = [];

  constructor(client: Client) {
    this.#client = client;
  }

  /** Undefined until the server has reported it. */
  presence(user: string): UserPresence | undefined {
    return this.#entries.get(user)?.presence;
  }

  subscribe(users: readonly string[], listener: () => void): () => void {
    const stops = users.flatMap((user) => {
      const { refCount, listeners } = this.#entry(user);
      return [listeners.add(listener), refCount.acquire()];
    });
    return () => {
      for (const stop of stops) stop();
    };
  }

  #entry(user: string): PresenceEntry {
    const known = this.#entries.get(user);
    if (known) return known;
    const refCount = new RefCounted({
      open: () => this.#add(user),
      close: () => this.#remove(user),
    });
    const entry: PresenceEntry = { refCount, listeners: new Listeners(), presence: undefined };
    this.#entries.set(user, entry);
    return entry;
  }

  #add(user: string): void {
    // One request per render.
    if (this.#pending.push(user) === 1) queueMicrotask(() => this.#follow(this.#pending.splice(0)));
  }

  #follow(users: readonly string[]): void {
    this.#stopListening ??= this.#client.on('state', (state) => this.#onState(state));
    // The watch would end with the closed connection.
    if (this.#client.state === 'closed') return;
    this.#watch ??= this.#client.watch([], (presence) => this.#heard(presence));
    this.#watch.add(users);
    const known = this.#watch.current();
    for (const user of users) {
      // The application may watch the user, too.
      const presence = known.get(user);
      if (presence) this.#heard(presence);
    }
  }

  /** Watches end when the client is closed, and begin again when it connects again. */
  #onState(state: ClientState): void {
    if (state === 'closed') this.#watch = undefined;
    else if (!this.#watch && this.#entries.size > 0) this.#follow([...this.#entries.keys()]);
  }

  #remove(user: string): void {
    this.#entries.delete(user);
    this.#watch?.remove([user]);
    if (this.#entries.size > 0) return;
    this.#watch?.close();
    this.#watch = undefined;
    this.#stopListening?.();
    this.#stopListening = undefined;
  }

  #heard(presence: UserPresence): void {
    const entry = this.#entries.get(presence.user);
    if (!entry) return;
    entry.presence = presence;
    entry.listeners.notify();
  }
}
