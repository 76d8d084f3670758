import type { ClientRegistry } from './registry.js';

/** Who types in a room: the same object until that changes. From {@link useTyping}. */
export interface TypingView {
  /** Who types now, without the user himself: the same array until it changes. */
  readonly typingUsers: readonly string[];
  /** To be called on every key stroke; without it for 3 s, the user has stopped. The same function until the room is another. */
  readonly startTyping: () => void;
  /** The text was sent or given up. The same function until the room is another. */
  readonly stopTyping: () => void;
}

const NOBODY: readonly string[] = [];

/** One component's look at who types in a room, for `useSyncExternalStore`. Nothing happens before `subscribe`. */
export class TypingStore {
  readonly #registry: ClientRegistry | undefined;
  readonly #name: string | null;
  readonly #first: TypingView;
  #view: TypingView;
  /** This component has said that the user types. */
  #said = false;

  constructor(registry: ClientRegistry | undefined, name: string | null) {
    this.#registry = registry;
    this.#name = name;
    this.#first = {
      typingUsers: NOBODY,
      startTyping: () => this.#setTyping(true),
      stopTyping: () => this.#setTyping(false),
    };
    this.#view = this.#first;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    if (this.#name === null || !this.#registry) return () => {};
    const release = this.#registry.room(this.#name).acquire({}, listener);
    return () => {
      // Others may hold the room: whoever can't type here any more has stopped.
      if (this.#said) this.#setTyping(false);
      release();
    };
  };

  readonly snapshot = (): TypingView => {
    const typingUsers = this.#shared?.room?.typingUsers ?? NOBODY;
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
