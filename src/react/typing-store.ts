import type { ClientRegistry } from './registry.js';

/** The users who are typing in a room, from {@link useTyping}: the same object until that changes. */
export interface TypingView {
  /** The other users who are typing: the same array until it changes. */
  readonly typingUsers: readonly string[];
  /** To be called on every keystroke. Typing stops by itself after 3 s. The same function until the room changes. */
  readonly startTyping: () => void;
  /** To be called when the text is sent or discarded. The same function until the room changes. */
  readonly stopTyping: () => void;
}

const NO_USERS: readonly string[] = [];

/** One component's view of the typing users. It has no effect before `subscribe`. */
export class TypingStore {
  readonly #registry: ClientRegistry | undefined;
  readonly #name: string | null;
  readonly #first: TypingView;
  #view: TypingView;
  /** The last call of this component was `startTyping`. */
  #said = false;

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
    return () => {
      // Other components may keep the room joined, but the user can no longer type in this one.
      if (this.#said) this.#setTyping(false);
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
    this.#said = on;
    const room = this.#shared?.room;
    if (on) room?.startTyping();
    else room?.stopTyping();
  }

  get #shared() {
    return this.#name === null ? undefined : this.#registry?.known(this.#name);
  }
}
