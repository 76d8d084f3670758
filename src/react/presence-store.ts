import type { Client, ClientPresenceWatch, UserPresence } from '../client/index.js';
import { Listeners } from './listeners.js';
import { RefCounted } from './ref-counted.js';

interface PresenceEntry {
  readonly lease: RefCounted;
  readonly listeners: Listeners;
  presence: UserPresence | undefined;
}

/** The presence of the users that components show: one watch for all. */
export class PresenceStore {
  readonly #client: Client;
  readonly #people = new Map<string, PresenceEntry>();
  #watch: ClientPresenceWatch | undefined;
  /** Users to add to the watch once all effects of this render have run. */
  readonly #pending: string[] = [];

  constructor(client: Client) {
    this.#client = client;
  }

  /** Undefined until the server has reported it. */
  presence(user: string): UserPresence | undefined {
    return this.#people.get(user)?.presence;
  }

  subscribe(users: readonly string[], listener: () => void): () => void {
    const stops = users.flatMap((user) => {
      const { lease, listeners } = this.#person(user);
      return [listeners.add(listener), lease.acquire()];
    });
    return () => {
      for (const stop of stops) stop();
    };
  }

  #person(user: string): PresenceEntry {
    const known = this.#people.get(user);
    if (known) return known;
    const lease = new RefCounted({
      open: () => this.#add(user),
      close: () => this.#remove(user),
    });
    const person: PresenceEntry = { lease, listeners: new Listeners(), presence: undefined };
    this.#people.set(user, person);
    return person;
  }

  #add(user: string): void {
    // One request for all users of this render.
    if (this.#pending.push(user) === 1) queueMicrotask(() => this.#follow(this.#pending.splice(0)));
  }

  #follow(users: readonly string[]): void {
    this.#watch ??= this.#client.watch([], (presence) => this.#heard(presence));
    this.#watch.add(users);
    const known = this.#watch.current();
    for (const user of users) {
      // The client already knows the presence of users whom the application watches, too.
      const presence = known.get(user);
      if (presence) this.#heard(presence);
    }
  }

  #remove(user: string): void {
    this.#people.delete(user);
    this.#watch?.remove([user]);
    if (this.#people.size > 0) return;
    this.#watch?.close();
    this.#watch = undefined;
  }

  #heard(presence: UserPresence): void {
    const person = this.#people.get(presence.user);
    if (!person) return;
    person.presence = presence;
    person.listeners.notify();
  }
}
