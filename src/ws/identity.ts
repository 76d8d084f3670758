import type { IncomingMessage } from 'node:http';
import { isPosition } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertName } from '../internal/validate.js';
import type { Status } from '../presence/types.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { ServeOptions, WebSocketIdentity } from './options.js';

/** Somebody. What the application said of him is read once, and checked, before anything depends on it. */
export interface AuthenticatedUser<User> {
  /** As `authorize` is to see him. */
  readonly user: User;
  readonly userId: string;
  readonly status: Status | undefined;
  readonly meta: Json | undefined;
  /** In ms since the epoch. */
  readonly expiresAt: number | undefined;
  /** What his rate is counted by. */
  readonly rateKey: string;
}

/** Why somebody is not let in. */
export interface ConnectionRejection {
  readonly code: number;
  readonly reason: string;
}

/** Finds out who asks to come in. Never rejects: what fails is reported, and nobody is let in. */
export async function authenticateRequest<User extends WebSocketIdentity>(
  request: IncomingMessage,
  { authenticate, rateLimitKey }: Pick<ServeOptions<User>, 'authenticate' | 'rateLimitKey'>,
  report: (error: unknown) => void,
): Promise<AuthenticatedUser<User> | ConnectionRejection> {
  try {
    const given = await authenticate(request);
    if (given === null || given === undefined || given === '') {
      return { code: CloseCode.UNAUTHENTICATED, reason: 'not authenticated' };
    }
    const user = typeof given === 'string' ? ({ userId: given } as User) : given;
    const { userId, status, meta, expiresAt } = user;
    assertName('userId', userId);
    const rateKey = rateLimitKey?.(user, request) ?? userId;
    return { user, userId, status, meta, expiresAt: toExpiryTime(expiresAt), rateKey };
  } catch (error) {
    report(error);
    return { code: CloseCode.UNAVAILABLE, reason: 'not available now' };
  }
}

/** Where the client says it stands in what was sent to its user; whatever else it says is nothing. */
export function readResumePosition(request: IncomingMessage | undefined): string | undefined {
  const url = request?.url ?? '';
  const since = new URLSearchParams(url.slice(url.indexOf('?') + 1)).get('since');
  return isPosition(since) ? since : undefined;
}

function toExpiryTime(expiresAt: unknown): number | undefined {
  if (expiresAt === undefined || expiresAt === null) return undefined;
  const time = typeof expiresAt === 'number' || expiresAt instanceof Date ? Number(expiresAt) : Number.NaN;
  if (Number.isFinite(time)) return time;
  throw new InvalidArgumentError('expiresAt', 'must be a Date, or a number of ms since the epoch');
}
