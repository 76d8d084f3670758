import { InvalidArgumentError } from '../internal/errors.js';
import { assertName } from '../internal/validate.js';
import { assertStatus } from '../presence/validate.js';
import type { SocketIdentity } from './options.js';
import type { SocketLike } from './socket-io-types.js';

/** From `socket.data.user`. */
export function defaultIdentify({ data }: SocketLike): string | undefined {
  const user: unknown = (data as { user?: unknown } | null | undefined)?.user;
  if (user === undefined || user === null) return undefined;
  const id: unknown = typeof user === 'object' ? (user as { id?: unknown }).id : user;
  // Database ids are often numbers.
  return typeof id === 'number' ? String(id) : (id as string | undefined);
}

/** `undefined`: anonymous. @throws {@link InvalidArgumentError} for an invalid id or status, or a promise. */
export function parseIdentity(given: unknown): SocketIdentity | undefined {
  if (given === undefined || given === null) return undefined;
  if (typeof given !== 'object') {
    assertName('userId', given);
    return { userId: given };
  }
  const { userId, meta, status } = given as Partial<SocketIdentity>;
  if (typeof (given as PromiseLike<unknown>).then === 'function') {
    throw new InvalidArgumentError(
      'identify',
      'must not return a promise: load the user in a middleware (io.use)',
    );
  }
  assertName('userId', userId);
  if (status !== undefined) assertStatus('status', status);
  return {
    userId,
    ...(meta === undefined ? {} : { meta }),
    ...(status === undefined ? {} : { status }),
  };
}
