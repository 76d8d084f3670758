import { createHash } from 'node:crypto';
import { isPosition, type Position } from '../history/position.js';

/** Of one event id: a longer one may exceed a proxy's header limit. */
export const MAX_CHANNELS = 100;
/** Longest id, rounded up. */
const MAX_ID = MAX_CHANNELS * 48;

const KEY = /^[\w-]{8}$/;
const CLIENT = /^!([\w-]{1,64})$/;

/** Of channels with many streams; a hash is the slowest part of rollcall's work for a new stream. */
const knownKeys = new Map<string, string>();
const MAX_KNOWN_KEYS = 1_000;

/** The key is short for any name, and does not reveal it. */
export function toChannelKey(name: string): string {
  const known = knownKeys.get(name);
  if (known !== undefined) return known;
  const key = createHash('sha256').update(name).digest('base64url').slice(0, 8);
  if (knownKeys.size >= MAX_KNOWN_KEYS) knownKeys.clear();
  knownKeys.set(name, key);
  return key;
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
  readonly #clientId: string | undefined;

  constructor(channels: Iterable<TrackedPosition>, clientId?: string) {
    this.#channels = [...channels];
    this.#clientId = clientId;
  }

  /** `key.position` of each channel, or only its key; then `!` and the id of the client. */
  get id(): string {
    let id = '';
    for (const { key, position } of this.#channels) {
      if (id !== '') id += '~';
      id += position === undefined ? key : `${key}.${position}`;
    }
    return this.#clientId === undefined ? id : `${id}~!${this.#clientId}`;
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
  /** Written by an earlier connection of the client. */
  readonly clientId: string | undefined;

  constructor(text: string | undefined) {
    this.isPresent = text !== undefined && text !== '';
    const parts = this.isPresent && (text as string).length <= MAX_ID ? (text as string).split('~') : [];
    const client = CLIENT.exec(parts.at(-1) ?? '');
    this.clientId = client?.[1];
    if (client !== null) parts.pop();
    this.#positions = parts.length > 0 ? parsePositions(parts) : undefined;
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
function parsePositions(parts: readonly string[]): Map<string, Position | undefined> | undefined {
  const positions = new Map<string, Position | undefined>();
  for (const part of parts) {
    const [key = '', position, ...rest] = part.split('.');
    if (!KEY.test(key) || rest.length > 0 || positions.has(key)) return undefined;
    if (position !== undefined && !isPosition(position)) return undefined;
    positions.set(key, position);
  }
  return positions;
}
