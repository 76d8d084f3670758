import { InvalidArgumentError, UnsupportedError } from '../internal/errors.js';
import type { IdentifyOptions, IdentifyRequest } from '../rooms/options.js';
import { type AuthenticatedUser, toAuthenticatedUser } from './identity.js';
import type { ConnectionIdentity } from './options.js';
import { type RequestContext, stopTyping } from './request-context.js';
import { RequestError } from './request-error.js';

/**
 * Changes the user of a connection between two of its frames. If Redis fails after the change, the error is reported: the
 * connection has its new user, and presence removes the old one's socket later.
 */
export async function changeIdentity<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  known: AuthenticatedUser<User>,
  authorize: IdentifyOptions['authorize'] = (request) => isAllowed(context, known.user, request),
): Promise<void> {
  const { socket } = context;
  const { userId, status, meta } = known;
  const options = {
    ...(status === undefined ? {} : { status }),
    ...(meta === undefined ? {} : { meta }),
    authorize,
  };
  let isChanged = false;
  const change = () =>
    socket.changeUser(userId, options, ({ previous, position }) => {
      isChanged = true;
      // Not awaited: on failure, typing expires after its `ttl`.
      stopTyping(context, previous).catch(context.report);
      context.known = known;
      context.setExpiry(known.expiresAt);
      context.sendWelcome(position);
    });
  try {
    await context.betweenFrames(change);
  } catch (error) {
    if (!isChanged) throw error;
    context.report(error);
  }
}

/** Asks `authorize` again about all that the client is shown, between two of its frames. The answers replace earlier expiries. */
export async function reauthorize<User extends ConnectionIdentity>(
  context: RequestContext<User>,
): Promise<void> {
  const { socket } = context;
  await context.betweenFrames(() => {
    context.clearPermissions();
    return socket.reauthorize((request) => isAllowed(context, context.known.user, request));
  });
}

/** For `RoomSocket.identify`. */
export async function identify<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  userId: string,
  { user = {}, status, meta, authorize }: IdentifyOptions,
): Promise<void> {
  const { credentials } = context;
  if (!context.identityChange || credentials === undefined) {
    throw new UnsupportedError('identify needs the option identityChange: true of the server');
  }
  const identity = { ...user, userId, status, meta } as User;
  const given = (user as Partial<ConnectionIdentity>).userId ?? userId;
  if (given !== userId) throw new InvalidArgumentError('user', 'must have the same userId');
  const known = toAuthenticatedUser(identity, () => credentials.rateKeyOf(identity));
  await changeIdentity(context, known, authorize);
}

async function isAllowed<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  user: User,
  request: IdentifyRequest,
): Promise<boolean> {
  try {
    return context.accept(await context.options.authorize(user, request), request);
  } catch (error) {
    // The application's way to refuse a frame.
    if (error instanceof RequestError) return false;
    throw error;
  }
}
