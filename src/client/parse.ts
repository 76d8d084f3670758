import type { ServerFrame } from '../protocol/frames.js';
import { ClientError } from './client-error.js';

/** What frames of these types must have. */
const NEEDED = new Map([
  ['welcome', ['heartbeat', 'maxBytes']],
  ['ok', ['id']],
  ['error', ['code']],
  ['event', ['event']],
  ['position', ['position']],
  ['members', ['room']],
]);

/** What members are, by their names, whichever frame they stand in. */
const TEXT = /^(type|socket|user|room|position|event|from|code|reason)$/;
const NUMBER = /^(heartbeat|maxBytes|id|retryAfter)$/;

const fits = ([name, value]: [string, unknown]): boolean =>
  TEXT.test(name) ? typeof value === 'string' : !NUMBER.test(name) || typeof value === 'number';

/**
 * The frame that `data` is, perhaps one of a type that is unknown to this version.
 *
 * @throws {ClientError} `INVALID` when it is no frame.
 */
export function parse(data: unknown): ServerFrame {
  try {
    const frame: ServerFrame = JSON.parse(data as string);
    const needed = NEEDED.get(frame.type) ?? ['type'];
    if (needed.every((name) => name in frame) && Object.entries(frame).every(fits)) return frame;
  } catch {
    // Not JSON, or no object: malformed like the rest.
  }
  throw new ClientError('INVALID', 'malformed frame');
}
