import type { UserPresence } from '../protocol/frames.js';
import { Emitter } from './emitter.js';
import { type ReconcileRequest, Reconciler } from './reconciler.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import type { ClientPresenceWatch } from './types.js';

/** How many users one frame names: with the longest ids it is shorter than any server's limit. */
const BATCH_SIZE = 100;

type PresenceListener = (presence: UserPresence) => unknown;

interface WatchedUser {
  /** Who wants to hear of the user. */
  readonly listeners: Set<PresenceListener>;
  /** The server has been told on this connection. */
  subscribed?: boolean;
  presence?: UserPresence;
}

/** Who is watched by anybody, and how each of them is. */
export class PresenceWatches {
  readonly #line: ReconnectingSocket;
  readonly #errand: Reconciler;
  readonly #users = new Map<string, WatchedUser>();

  constructor(line: ReconnectingSocket) {
    this.#line = line;
    this.#errand = new Reconciler(line, () => this.#next());
  }

  watch(users: Iterable<string>, handler: PresenceListener | undefined): ClientPresenceWatch {
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
        const watched = all.get(user) ?? { listeners: new Set() };
        all.set(user, watched);
        watched.listeners.add(take);
      }
      snapshot = undefined;
      this.#errand.reconcile();
    };
    const remove = (users: Iterable<string>) => {
      for (const user of [...users]) {
        const watched = mine.delete(user) && all.get(user);
        if (!watched) continue;
        watched.listeners.delete(take);
        // With a connection, `#next` looks after it.
        if (!this.#line.open && watched.listeners.size === 0) all.delete(user);
      }
      snapshot = undefined;
      this.#errand.reconcile();
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
      for (const take of watched.listeners) take(presence);
    }
  }

  open(): void {
    for (const watched of this.#users.values()) watched.subscribed = false;
    this.#errand.stop();
    this.#errand.reconcile();
  }

  close(): void {
    this.#errand.stop();
    this.#users.clear();
  }

  #next(): ReconcileRequest | undefined {
    const fresh: string[] = [];
    const gone: string[] = [];
    for (const [user, { listeners: takes, subscribed: told }] of this.#users) {
      if (takes.size > 0) told || fresh.push(user);
      else if (told) gone.push(user);
      else this.#users.delete(user);
    }
    const told = gone.length === 0;
    const users = (told ? fresh : gone).slice(0, BATCH_SIZE);
    if (users.length === 0) return;
    return {
      frame: { type: told ? 'watch' : 'unwatch', users },
      onReply: (error) => {
        // What is refused is not asked again on this connection.
        for (const user of users) (this.#users.get(user) as WatchedUser).subscribed = told;
        if (error) this.#line.report(error);
      },
    };
  }
}
