import type { ClientFrame } from '../protocol/frames.js';

export interface InvalidFrame {
  readonly problem: string;
  /** The protocol's form, but an unknown type or a wrong member. */
  readonly readable: boolean;
  readonly id: number | undefined;
}

/** Returns the problem, if any. */
type Check = (value: unknown) => string | undefined;

const KEY = /^[\w.:-]{1,64}$/;
export const METHOD = /^[\w.:-]{1,64}$/;
const MAX_NAME_BYTES = 512;
const MAX_EVENT_BYTES = 128;
const MAX_POSITION_BYTES = 64;
const MAX_URL_BYTES = 16_384;
const MAX_USERS = 1_000;
/** Deeper JSON can be parsed, but stringifying it could overflow the stack. */
const MAX_DEPTH = 100;

const isBoolean: Check = (value) => (typeof value === 'boolean' ? undefined : 'must be true or false');
const isBooleanOrCount: Check = (value) =>
  typeof value === 'boolean' || value === 'count' ? undefined : 'must be true, false or "count"';
const isName: Check = (value) => text(value, MAX_NAME_BYTES);
const isPositionText: Check = (value) => text(value, MAX_POSITION_BYTES);
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined ? undefined : check(value);
const matches =
  (pattern: RegExp): Check =>
  (value) =>
    typeof value === 'string' && pattern.test(value) ? undefined : `must match ${pattern.source}`;
const isIntegerBetween =
  (min: number, max: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `must be a whole number from ${min} to ${max}`;
const isEventName: Check = (value) =>
  text(value, MAX_EVENT_BYTES) ?? ((value as string).startsWith('$') ? 'must not begin with "$"' : undefined);
const isUserList: Check = (value) => {
  if (!Array.isArray(value) || value.length > MAX_USERS) return `must be a list of up to ${MAX_USERS} users`;
  return value.map(isName).find((problem) => problem !== undefined);
};

function text(value: unknown, maxBytes: number): string | undefined {
  const fits =
    typeof value === 'string' &&
    value.length > 0 &&
    value.length <= maxBytes &&
    Buffer.byteLength(value) <= maxBytes;
  return fits ? undefined : `must be text of 1 to ${maxBytes} bytes`;
}

type FrameSchema = readonly (readonly [member: string, check: Check])[];

/** By type of frame; other members are ignored. */
const FRAME_SCHEMAS = new Map<string, FrameSchema>(
  Object.entries({
    join: [
      ['room', isName],
      ['since', optional(isPositionText)],
      ['last', optional(isIntegerBetween(0, 1_000))],
      ['members', optional(isBooleanOrCount)],
    ],
    update: [['room', isName]],
    leave: [['room', isName]],
    send: [
      ['room', isName],
      ['event', isEventName],
      ['key', optional(matches(KEY))],
      ['echo', optional(isBoolean)],
      ['keep', optional(isBoolean)],
    ],
    typing: [
      ['room', isName],
      ['on', isBoolean],
    ],
    status: [['status', isName]],
    watch: [['users', isUserList]],
    unwatch: [['users', isUserList]],
    history: [
      ['room', isName],
      ['before', optional(isPositionText)],
      ['since', optional(isPositionText)],
      ['around', optional(isPositionText)],
      ['limit', optional(isIntegerBetween(1, 1_000))],
    ],
    request: [['method', matches(METHOD)]],
    refresh: [['url', (value) => text(value, MAX_URL_BYTES)]],
    ping: [],
  } satisfies Record<ClientFrame['type'], FrameSchema>),
);

/** `text` is `undefined` for a binary message. Never throws. */
export function parseClientFrame(text: string | undefined): ClientFrame | InvalidFrame {
  if (text === undefined) return unreadable('the frame must be text');
  if (exceedsDepth(text)) return unreadable(`the frame must not be nested more than ${MAX_DEPTH} deep`);
  let frame: Record<string, unknown>;
  try {
    frame = JSON.parse(text);
  } catch {
    return unreadable('the frame is not JSON');
  }
  if (typeof frame !== 'object' || frame === null || Array.isArray(frame)) {
    return unreadable('the frame must be an object');
  }
  const { id: rawId, type } = frame;
  const id = Number.isSafeInteger(rawId) ? (rawId as number) : undefined;
  if (rawId !== undefined && id === undefined) return unreadable('id must be a whole number');
  if (typeof type !== 'string') return unreadable('type must be text', id);
  const schema = FRAME_SCHEMAS.get(type);
  // A later version may have this type.
  if (schema === undefined) return { problem: 'type is unknown', readable: true, id };
  for (const [member, check] of schema) {
    const problem = check(frame[member]);
    if (problem !== undefined) return { problem: `${member} ${problem}`, readable: true, id };
  }
  return frame as unknown as ClientFrame;
}

function unreadable(problem: string, id?: number): InvalidFrame {
  return { problem, readable: false, id };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Counts brackets outside strings; JSON.parse checks the rest later. */
function exceedsDepth(text: string): boolean {
  if (text.length <= MAX_DEPTH) return false;
  let depth = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) quoted = !quoted;
    else if (quoted) at += code === BACKSLASH ? 1 : 0;
    // "[" and "{", "]" and "}" differ in one bit.
    else if ((code | 0x20) === 0x7b) {
      if (++depth > MAX_DEPTH) return true;
    } else if ((code | 0x20) === 0x7d) depth--;
  }
  return false;
}
