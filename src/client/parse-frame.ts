import type { ServerFrame } from '../protocol/frames.js';
import { ClientError } from './client-error.js';

/** Members that have the same type in every frame. */
const STRING_MEMBERS = /^(type|socket|user|room|position|event|from|code|reason)$/;
const NUMBER_MEMBERS = /^(heartbeat|maxBytes|id|retryAfter)$/;

const hasValidType = ([name, value]: [string, unknown]): boolean =>
  STRING_MEMBERS.test(name)
    ? typeof value === 'string'
    : !NUMBER_MEMBERS.test(name) || typeof value === 'number';

/**
 * Parses a message of the server. The frame may be of a type that this version does not know.
 *
 * @throws {ClientError} `INVALID` for anything but a frame.
 */
export function parseFrame(data: unknown): ServerFrame {
  try {
    const frame: ServerFrame = JSON.parse(data as string);
    if (frame.type && Object.entries(frame).every(hasValidType)) return frame;
  } catch {
    // Neither JSON nor an object: malformed, too.
  }
  throw new ClientError('INVALID', 'malformed frame');
}
