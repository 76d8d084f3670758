import { isPosition } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertName } from '../internal/validate.js';
import type { Status } from '../presence/types.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { ConnectionHandlerOptions, ConnectionIdentity, HandshakeRequest } from './options.js';
import { readParameter } from './read-request.js';

/** The validated result of `authenticate`. */
export interface AuthenticatedUser<User> {
  /** For `authorize`. */
  readonly user: User;
  readonly userId: string;
  readonly status: Status | undefined;
  readonly meta: Json | undefined;
  /** In ms since the epoch. */
  readonly expiresAt: number | undefined;
  readonly rateKey: string;
}

export interface ConnectionRejection {
  readonly code: number;
  readonly reason: string;
}

/** Never rejects: a failure is reported, and the connection rejected as unavailable. */
export async function authenticateRequest<User extends ConnectionIdentity, R extends HandshakeRequest>(
  request: R,
  { authenticate, rateLimitKey }: Pick<ConnectionHandlerOptions<User, R>, 'authenticate' | 'rateLimitKey'>,
  report: (error: unknown) => void,
  now: () => number,
): Promise<AuthenticatedUser<User> | ConnectionRejection> {
  try {
    const result = await authenticate(request);
    if (result === null || result === undefined || result === '') {
      return { code: CloseCode.UNAUTHENTICATED, reason: 'not authenticated' };
    }
    const user = typeof result === 'string' ? ({ userId: result } as User) : result;
    const known = toAuthenticatedUser(user, (userId) => rateLimitKey?.(user, request) ?? userId);
    if (known.expiresAt === undefined || known.expiresAt > now()) return known;
    return { code: CloseCode.EXPIRED, reason: 'the credentials have expired' };
  } catch (error) {
    report(error);
    return { code: CloseCode.UNAVAILABLE, reason: 'not available now' };
  }
}

/** @throws {@link InvalidArgumentError} for a bad id or expiry. */
export function toAuthenticatedUser<User extends ConnectionIdentity>(
  user: User,
  rateKeyOf: (userId: string) => string,
): AuthenticatedUser<User> {
  const { userId, status, meta, expiresAt } = user;
  assertName('userId', userId);
  return { user, userId, status, meta, expiresAt: toExpiryTime(expiresAt), rateKey: rateKeyOf(userId) };
}

/**
 * Makes copies of a handshake's request with the query of another URL. Host, path and headers stay those of the
 * handshake, because `authenticate` may trust them.
 */
export function copyWithQuery<R extends HandshakeRequest>(request: R): (url: string) => R {
  const { headers } = request;
  const path = (request.url ?? '/').replace(/[?#].*/s, '');
  // Read now: some servers release the request when they upgrade its connection.
  const copied = Symbol.iterator in headers ? new Headers(headers as unknown as Headers) : undefined;
  return (url) => {
    const changed = path + (/\?[^#]*/.exec(url)?.[0] ?? '');
    return copied === undefined
      ? Object.create(request, { url: { value: changed, writable: true, enumerable: true } })
      : (new Request(new URL(changed, 'http://localhost'), { headers: copied }) as HandshakeRequest as R);
  };
}

/** The client's last position, from the URL; an invalid one is ignored. */
export function readResumePosition(request: HandshakeRequest | undefined): string | undefined {
  const since = readParameter(request, 'since');
  return isPosition(since) ? since : undefined;
}

/** The client's id, the same on each of its connections, from the URL; an invalid one is ignored. */
export function readClientId(request: HandshakeRequest | undefined): string | undefined {
  const id = readParameter(request, 'client') ?? '';
  return /^[\w-]{1,64}$/.test(id) ? id : undefined;
}

/** @throws {@link InvalidArgumentError} */
export function toExpiryTime(expiresAt: unknown): number | undefined {
  if (expiresAt === undefined || expiresAt === null) return undefined;
  const time = typeof expiresAt === 'number' || expiresAt instanceof Date ? Number(expiresAt) : Number.NaN;
  if (Number.isFinite(time)) return time;
  throw new InvalidArgumentError('expiresAt', 'must be a Date, or a number of ms since the epoch');
}
