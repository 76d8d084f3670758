import { createHash } from 'node:crypto';
import { isPosition, type Position } from '../history/position.js';

/** Of one event id: a longer one may exceed a proxy's header limit. */
export const MAX_CHANNELS = 100;
/** Longest id, rounded up. */
const MAX_ID = MAX_CHANNELS * 48;

const KEY = /^[\w-]{8}$/;

/** The key is short for any name, and does not reveal it. */
export function toChannelKey(name: string): string {
  return createHash('sha256').update(name).digest('base64url').slice(0, 8);
}

export interface TrackedPosition {
  readonly key: string;
  /** Last sent to the client. */
  position: Position | undefined;
}

/**
 * Positions in all channels of a stream: a client reconnects with its last id only, so every id holds all. Ids
 * need no escaping in headers and URLs.
 */
export class StreamPositions {
  readonly #channels: readonly TrackedPosition[];

  constructor(channels: Iterable<TrackedPosition>) {
    this.#channels = [...channels];
  }

  /** `key.position` of each channel, or only its key. */
  get id(): string {
    let id = '';
    for (const { key, position } of this.#channels) {
      if (id !== '') id += '~';
      id += position === undefined ? key : `${key}.${position}`;
    }
    return id;
  }
}

/** Start of a client in one channel. */
export interface ResumePoint {
  /** `undefined`: the client has no position. */
  readonly since: Position | undefined;
  /** A returning client without a position: messages may be missing. */
  readonly lost: boolean;
}

export class LastEventId {
  readonly #positions: Map<string, Position | undefined> | undefined;
  /** False for a first connection. */
  readonly isPresent: boolean;

  constructor(text: string | undefined) {
    this.isPresent = text !== undefined && text !== '';
    this.#positions = this.isPresent ? parseLastEventId(text as string) : undefined;
  }

  resumePoint(key: string): ResumePoint {
    if (!this.isPresent) return { since: undefined, lost: false };
    // An unreadable id, for example of another server, holds no positions.
    if (this.#positions === undefined) return { since: undefined, lost: true };
    const since = this.#positions.get(key);
    // A channel missing in the id is new in this stream: nothing of it was missed.
    return { since, lost: since === undefined && this.#positions.has(key) };
  }
}

/** `undefined`: not written by {@link StreamPositions}. */
function parseLastEventId(text: string): Map<string, Position | undefined> | undefined {
  if (text.length > MAX_ID) return undefined;
  const positions = new Map<string, Position | undefined>();
  for (const part of text.split('~')) {
    const [key = '', position, ...rest] = part.split('.');
    if (!KEY.test(key) || rest.length > 0 || positions.has(key)) return undefined;
    if (position !== undefined && !isPosition(position)) return undefined;
    positions.set(key, position);
  }
  return positions;
}
