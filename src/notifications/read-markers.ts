import { isPosition, ORIGIN, type Position } from '../history/position.js';
import type { PubSubService } from '../pubsub/pubsub-service.js';
import type { Reply } from '../redis/driver.js';
import { defineScript } from '../redis/script.js';
import advanceMarkerSource from './advance-marker.lua';

const advanceMarkerScript = defineScript('advance-marker', advanceMarkerSource);

export interface ReadMarker {
  /** Id of the last read notification. */
  readonly readUpTo: Position;
  /** False if it was there already, or later. */
  readonly moved: boolean;
}

/** One key per user, moved forward atomically by a script. */
export class ReadMarkers {
  readonly #pubsub: PubSubService;
  readonly #ttl: string;

  /** Markers expire after `ttl` ms without an acknowledgement. */
  constructor(pubsub: PubSubService, ttl: number) {
    this.#pubsub = pubsub;
    this.#ttl = String(ttl);
  }

  /** {@link ORIGIN} if nothing is read. */
  async get(userId: string): Promise<Position> {
    const [marker] = await this.#pubsub.execute('unread', [['GET', this.#key(userId)]]);
    return toPosition(marker);
  }

  async advance(userId: string, id: Position): Promise<ReadMarker> {
    const call = { script: advanceMarkerScript, keys: [this.#key(userId)], args: [id, this.#ttl] };
    const [reply] = await this.#pubsub.execute('acknowledge', [call]);
    const [marker, moved] = reply as readonly Reply[];
    return { readUpTo: toPosition(marker), moved: Number(moved) === 1 };
  }

  /** Resolves with false if there was none. */
  async remove(userId: string): Promise<boolean> {
    const [removed] = await this.#pubsub.execute('forget', [['DEL', this.#key(userId)]]);
    return Number(removed) === 1;
  }

  #key(userId: string): string {
    return `rollcall:read:${this.#pubsub.prefix}notifications:${userId}`;
  }
}

function toPosition(marker: Reply | undefined): Position {
  const text = String(marker);
  return isPosition(text) ? text : ORIGIN;
}
