import { BannedError } from '../internal/errors.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';

/** Users who are kept out of rooms for a time: one key each, which expires. */
export class Bans {
  readonly #pubsub: PubSubService;

  constructor(pubsub: PubSubService) {
    this.#pubsub = pubsub;
  }

  /** `duration` in ms. Replaces an earlier ban. */
  async set(room: string, userId: string, reason: string, duration: number): Promise<void> {
    const command = ['SET', this.#key(room, userId), reason, 'PX', String(duration)] as const;
    await this.#pubsub.execute('kick', [command]);
  }

  /** Resolves with false if there was no ban. */
  async remove(room: string, userId: string): Promise<boolean> {
    const [removed] = await this.#pubsub.execute('unban', [['DEL', this.#key(room, userId)]]);
    return Number(removed) === 1;
  }

  /** @throws {@link BannedError} while a ban lasts. */
  async assertNone(room: string, userId: string): Promise<void> {
    const [reason] = await this.#pubsub.execute('join', [['GET', this.#key(room, userId)]]);
    if (typeof reason === 'string') throw new BannedError(reason);
  }

  #key(room: string, userId: string): string {
    return `rollcall:ban:${this.#pubsub.prefix}${JSON.stringify([room, userId])}`;
  }
}
