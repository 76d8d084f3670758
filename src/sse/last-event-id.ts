import { createHash } from 'node:crypto';
import { isPosition, type Position } from '../history/position.js';

/** Channels that one event id can name: a longer id may exceed a proxy's header limit. */
export const MAX_CHANNELS = 100;
/** Length of the longest id that {@link StreamPositions} writes, rounded up. */
const MAX_ID = MAX_CHANNELS * 48;

const KEY = /^[\w-]{8}$/;

/** The hash is short for any name, and the id does not reveal the name. */
export function toChannelKey(name: string): string {
  return createHash('sha256').update(name).digest('base64url').slice(0, 8);
}

export interface TrackedPosition {
  readonly key: string;
  /** Last position sent to the client. */
  position: Position | undefined;
}

/**
 * The client's positions in all channels of its stream. A client reconnects with its last id only, so every id
 * holds all positions. Ids need no escaping in headers and URLs.
 */
export class StreamPositions {
  readonly #channels: readonly TrackedPosition[];

  constructor(channels: Iterable<TrackedPosition>) {
    this.#channels = [...channels];
  }

  /** `key.position` of each channel, or its key alone without a position. */
  get id(): string {
    let id = '';
    for (const { key, position } of this.#channels) {
      if (id !== '') id += '~';
      id += position === undefined ? key : `${key}.${position}`;
    }
    return id;
  }
}

/** Where a client that connects resumes one channel. */
export interface ResumePoint {
  /** Resume after this position; `undefined` if the client has none. */
  readonly since: Position | undefined;
  /** A returning client without a known position: messages may be missing. */
  readonly lost: boolean;
}

/** A client's `Last-Event-ID`, parsed. */
export class LastEventId {
  readonly #positions: Map<string, Position | undefined> | undefined;
  /** False for a client that connects for the first time. */
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
    // The id does not name the channel, which is new in this stream: the client has missed nothing of it.
    return { since, lost: since === undefined && this.#positions.has(key) };
  }
}

/** `undefined` for text that {@link StreamPositions} did not write. */
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
