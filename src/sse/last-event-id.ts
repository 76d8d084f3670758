import { createHash } from 'node:crypto';
import { isPosition, type Position } from '../history/position.js';

/** How many channels one event id can name: beyond that it would not fit into every proxy's headers. */
export const MAX_CHANNELS = 100;
/** Above this an id is none of ours. */
const MAX_ID = MAX_CHANNELS * 48;

const KEY = /^[\w-]{8}$/;

/** What stands for a channel in event ids: short, whatever its name, and it gives nothing away. */
export function toChannelKey(name: string): string {
  return createHash('sha256').update(name).digest('base64url').slice(0, 8);
}

/** One channel of a stream. */
export interface TrackedPosition {
  readonly key: string;
  /** The last position of which the client knows. */
  position: Position | undefined;
}

/**
 * Where a client stands in all channels of its stream: what it names in `Last-Event-ID` when it comes
 * back, so every id holds all of them. Such text goes as it is into headers and URLs.
 */
export class StreamPositions {
  readonly #places: readonly TrackedPosition[];

  constructor(places: Iterable<TrackedPosition>) {
    this.#places = [...places];
  }

  /** `key.position` of each channel, or its key alone where there is no position. */
  get id(): string {
    let id = '';
    for (const { key, position } of this.#places) {
      if (id !== '') id += '~';
      id += position === undefined ? key : `${key}.${position}`;
    }
    return id;
  }
}

/** Where a client stands in one channel when it comes, or comes back. */
export interface ResumePoint {
  /** After this position; `undefined` where nothing is known. */
  readonly since: Position | undefined;
  /** It has been here before, and what it missed since cannot be told. */
  readonly lost: boolean;
}

/** What a client's `Last-Event-ID` says. */
export class LastEventId {
  readonly #places: Map<string, Position | undefined> | undefined;
  /** It has been here before. */
  readonly isPresent: boolean;

  constructor(text: string | undefined) {
    this.isPresent = text !== undefined && text !== '';
    this.#places = this.isPresent ? parseLastEventId(text as string) : undefined;
  }

  /** Of the channel with this key. */
  of(key: string): ResumePoint {
    if (!this.isPresent) return { since: undefined, lost: false };
    // An id that cannot be read, of another server say, tells nothing of any channel.
    if (this.#places === undefined) return { since: undefined, lost: true };
    const since = this.#places.get(key);
    // A channel that it does not name is new in this stream.
    return { since, lost: since === undefined && this.#places.has(key) };
  }
}

/** The positions by key; `undefined` for what {@link StreamPositions} did not write. */
function parseLastEventId(text: string): Map<string, Position | undefined> | undefined {
  if (text.length > MAX_ID) return undefined;
  const places = new Map<string, Position | undefined>();
  for (const part of text.split('~')) {
    const [key = '', position, ...rest] = part.split('.');
    if (!KEY.test(key) || rest.length > 0 || places.has(key)) return undefined;
    if (position !== undefined && !isPosition(position)) return undefined;
    places.set(key, position);
  }
  return places;
}
