import type { ServerFrame } from '../protocol/frames.js';
import { ClientError } from './client-error.js';

/** What frames of these types must have. */
const REQUIRED_MEMBERS = new Map([
  ['welcome', ['heartbeat', 'maxBytes']],
  ['ok', ['id']],
  ['error', ['code']],
  ['event', ['event']],
  ['position', ['position']],
  ['members', ['room']],
]);

/** What members are, by their names, whichever frame they stand in. */
const STRING_MEMBERS = /^(type|socket|user|room|position|event|from|code|reason)$/;
const NUMBER_MEMBERS = /^(heartbeat|maxBytes|id|retryAfter)$/;

const hasValidType = ([name, value]: [string, unknown]): boolean =>
  STRING_MEMBERS.test(name)
    ? typeof value === 'string'
    : !NUMBER_MEMBERS.test(name) || typeof value === 'number';

/**
 * The frame that `data` is, perhaps one of a type that is unknown to this version.
 *
 * @throws {ClientError} `INVALID` when it is no frame.
 */
export function parseFrame(data: unknown): ServerFrame {
  try {
    const frame: ServerFrame = JSON.parse(data as string);
    const needed = REQUIRED_MEMBERS.get(frame.type) ?? ['type'];
    if (needed.every((name) => name in frame) && Object.entries(frame).every(hasValidType)) return frame;
  } catch {
    // Not JSON, or no object: malformed like the rest.
  }
  throw new ClientError('INVALID', 'malformed frame');
}
