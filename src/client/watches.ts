import type { UserPresence } from '../protocol/frames.js';
import { Emitter } from './emitter.js';
import { Errand, type Step } from './errand.js';
import type { Line } from './line.js';
import type { PresenceWatch } from './types.js';

/** How many users one frame names: with the longest ids it is shorter than any server's limit. */
const AT_ONCE = 100;

type Take = (presence: UserPresence) => unknown;

interface Watched {
  /** Who wants to hear of the user. */
  readonly takes: Set<Take>;
  /** The server has been told on this connection. */
  told?: boolean;
  presence?: UserPresence;
}

/** Who is watched by anybody, and how each of them is. */
export class Watches {
  readonly #line: Line;
  readonly #errand: Errand;
  readonly #users = new Map<string, Watched>();

  constructor(line: Line) {
    this.#line = line;
    this.#errand = new Errand(line, () => this.#next());
  }

  watch(users: Iterable<string>, handler: Take | undefined): PresenceWatch {
    const all = this.#users;
    const mine = new Set<string>();
    const handlers = new Emitter(this.#line.report);
    let snapshot: Map<string, UserPresence> | undefined;
    let closed = false;

    const take = (presence: UserPresence) => {
      snapshot = undefined;
      handlers.emit('', presence);
    };
    const current = () => {
      if (snapshot) return snapshot;
      snapshot = new Map();
      for (const user of mine) {
        const presence = all.get(user)?.presence;
        if (presence) snapshot.set(user, presence);
      }
      return snapshot;
    };
    const add = (users: Iterable<string>) => {
      for (const user of closed ? [] : users) {
        if (mine.has(user)) continue;
        mine.add(user);
        const watched = all.get(user) ?? { takes: new Set() };
        all.set(user, watched);
        watched.takes.add(take);
      }
      snapshot = undefined;
      this.#errand.run();
    };
    const remove = (users: Iterable<string>) => {
      for (const user of [...users]) {
        const watched = mine.delete(user) && all.get(user);
        if (!watched) continue;
        watched.takes.delete(take);
        // With a connection, `#next` looks after it.
        if (!this.#line.open && watched.takes.size === 0) all.delete(user);
      }
      snapshot = undefined;
      this.#errand.run();
    };
    const close = () => {
      closed = true;
      handlers.clear();
      remove(mine);
    };

    if (handler) handlers.on('', handler);
    add(users);
    return { current, add, remove, close };
  }

  receive(users: readonly UserPresence[]): void {
    for (const presence of users) {
      const watched = this.#users.get(presence.user);
      const known = watched?.presence;
      // After a break the server says again what may be known.
      if (!watched || (known?.status === presence.status && known.lastSeen === presence.lastSeen)) continue;
      watched.presence = presence;
      for (const take of watched.takes) take(presence);
    }
  }

  open(): void {
    for (const watched of this.#users.values()) watched.told = false;
    this.#errand.stop();
    this.#errand.run();
  }

  close(): void {
    this.#errand.stop();
    this.#users.clear();
  }

  #next(): Step | undefined {
    const fresh: string[] = [];
    const gone: string[] = [];
    for (const [user, { takes, told }] of this.#users) {
      if (takes.size > 0) told || fresh.push(user);
      else if (told) gone.push(user);
      else this.#users.delete(user);
    }
    const told = gone.length === 0;
    const users = (told ? fresh : gone).slice(0, AT_ONCE);
    if (users.length === 0) return;
    return {
      frame: { type: told ? 'watch' : 'unwatch', users },
      done: (error) => {
        // What is refused is not asked again on this connection.
        for (const user of users) (this.#users.get(user) as Watched).told = told;
        if (error) this.#line.report(error);
      },
    };
  }
}
