import type { ClientRegistry } from './registry.js';

/** The typing users of a room, from {@link useTyping}: the same object until it changes. */
export interface TypingView {
  /** The other users who are typing: the same array until it changes. */
  readonly typingUsers: readonly string[];
  /** Call it on every keystroke; typing ends by itself after 3 s. The same function until the room changes. */
  readonly startTyping: () => void;
  /** Call it when the text is sent or discarded. The same function until the room changes. */
  readonly stopTyping: () => void;
}

const NO_USERS: readonly string[] = [];

/** One component's view. No effect before `subscribe`. */
export class TypingStore {
  readonly #registry: ClientRegistry | undefined;
  readonly #name: string | null;
  readonly #first: TypingView;
  #view: TypingView;
  #typing = false;
  #subscribed = false;

  constructor(registry: ClientRegistry | undefined, name: string | null) {
    this.#registry = registry;
    this.#name = name;
    this.#first = {
      typingUsers: NO_USERS,
      startTyping: () => this.#setTyping(true),
      stopTyping: () => this.#setTyping(false),
    };
    this.#view = this.#first;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    if (this.#name === null || !this.#registry) return () => {};
    const release = this.#registry.room(this.#name).acquire({}, listener);
    this.#subscribed = true;
    return () => {
      // Other components may keep the room joined, but the user cannot type in this one.
      if (this.#typing) this.#setTyping(false);
      release();
    };
  };

  readonly snapshot = (): TypingView => {
    const typingUsers = this.#shared?.room?.typingUsers ?? NO_USERS;
    const same =
      typingUsers === this.#view.typingUsers ||
      (typingUsers.length === 0 && this.#view.typingUsers.length === 0);
    if (!same) this.#view = { ...this.#first, typingUsers: typingUsers };
    return this.#view;
  };

  readonly serverSnapshot = (): TypingView => this.#first;

  #setTyping(on: boolean): void {
    this.#typing = on;
    const shared = this.#shared;
    if (!shared?.room) {
      // Without a room the component has unmounted, unless the call is from the effect of a child.
      if (on && (shared || !this.#subscribed)) void this.#startWhenOpen();
    } else if (on) shared.room.startTyping();
    else shared.room.stopTyping();
  }

  async #startWhenOpen(): Promise<void> {
    if (this.#name === null || !this.#registry) return;
    const shared = this.#registry.room(this.#name);
    const release = shared.acquire({}, () => {});
    try {
      const room = await shared.whenOpen();
      if (this.#typing) room.startTyping();
    } catch {
      // The room was released first, or could not be joined: the error is thrown where it is opened.
    }
    release();
  }

  get #shared() {
    return this.#name === null ? undefined : this.#registry?.known(this.#name);
  }
}
