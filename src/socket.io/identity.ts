import { InvalidArgumentError } from '../internal/errors.js';
import { assertName } from '../internal/validate.js';
import { assertStatus } from '../presence/validate.js';
import type { SocketIdentity } from './options.js';
import type { SocketLike } from './socket-io-types.js';

/** Whose a socket is by `socket.data.user`. */
export function defaultIdentify({ data }: SocketLike): string | undefined {
  const user: unknown = (data as { user?: unknown } | null | undefined)?.user;
  if (user === undefined || user === null) return undefined;
  const id: unknown = typeof user === 'object' ? (user as { id?: unknown }).id : user;
  // Ids from a database are often numbers.
  return typeof id === 'number' ? String(id) : (id as string | undefined);
}

/**
 * What `identify` returned, checked; undefined for an anonymous socket.
 *
 * @throws {@link InvalidArgumentError}
 */
export function parseIdentity(given: unknown): SocketIdentity | undefined {
  if (given === undefined || given === null) return undefined;
  if (typeof given !== 'object') {
    assertName('userId', given);
    return { userId: given };
  }
  const { userId, meta, status } = given as Partial<SocketIdentity>;
  if (typeof (given as PromiseLike<unknown>).then === 'function') {
    throw new InvalidArgumentError('identify', 'must not be asynchronous: look users up in a middleware');
  }
  assertName('userId', userId);
  if (status !== undefined) assertStatus('status', status);
  return {
    userId,
    ...(meta === undefined ? {} : { meta }),
    ...(status === undefined ? {} : { status }),
  };
}
