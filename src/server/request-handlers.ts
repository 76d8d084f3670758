import { createHash } from 'node:crypto';
import type { Json } from '../internal/codec.js';
import { isThenable, messageOf } from '../internal/diagnostics.js';
import { HandlerError, isClientFault, isRollcallError } from '../internal/errors.js';
import { settled } from '../internal/promises.js';
import { CloseCode } from '../protocol/close-codes.js';
import type {
  ClientFrame,
  HistoryFrame,
  HistoryResult,
  JoinFrame,
  JoinReply,
  RefreshFrame,
  RefreshReply,
  RequestFrame,
  SendFrame,
  SendResult,
  TypingFrame,
} from '../protocol/frames.js';
import type { JoinOptions } from '../rooms/options.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import { changeIdentity, reauthorize } from './identity-change.js';
import type { ClientRequest, ConnectionIdentity } from './options.js';
import { readRoomHistory } from './read-room-history.js';
import type { RequestContext } from './request-context.js';
import { RequestError, UNAVAILABLE_RETRY_AFTER } from './request-error.js';

/**
 * Checks limits, calls `authorize`, waits for a free slot and runs the request, which sends its own reply.
 * Resolves when the request has started: the requests of a connection start in order and run concurrently.
 *
 * @throws the answer for the client, if the request was not started.
 */
export async function handleFrame<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  frame: ClientFrame,
): Promise<void> {
  if (frame.type === 'ping') return context.send({ type: 'pong' });
  const { socket } = context;
  const { userId, revocations } = socket;
  // Before `authorize`, so that repeating a hopeless request costs the application nothing.
  assertWithinLimits(context, frame);
  const allowed = authorizeFrame(context, frame);
  const refused = frame.type === 'join' ? refuseMembers(context, frame) : undefined;
  // A synchronous authorization lets two frames start in the same turn.
  if (!(typeof allowed === 'boolean' ? allowed : await allowed)) throw forbidden(frame.type);
  const refusal = isThenable(refused) ? await refused : refused;
  while (context.slots.full && context.isOpen()) {
    await context.slots.waitForSlot();
    await context.runChanges();
  }
  if (!context.isOpen()) return;
  // Authorized for the user before, or perhaps before a revocation, which has found nothing to end.
  const isRevocable = frame.type === 'watch' || frame.type === 'join';
  if (socket.userId !== userId || (isRevocable && socket.revocations !== revocations)) {
    return handleFrame(context, frame);
  }
  void runRequest(context, frame, refusal);
}

function forbidden(subject: string): RequestError {
  return new RequestError('FORBIDDEN', `${subject} is not allowed there`);
}

/** Never rejects. */
async function runRequest<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  frame: ClientFrame,
  membersRefusal: RequestError | undefined,
): Promise<void> {
  const { id, type } = frame;
  context.slots.acquire();
  try {
    if (type === 'send' || type === 'typing' || type === 'status') {
      context.socket.touch().catch(context.report);
    }
    const data = await executeFrame(context, frame, membersRefusal);
    if (id !== undefined) context.send({ type: 'ok', id, ...(data === undefined ? {} : { data }) });
  } catch (error) {
    context.sendError(error, id);
  } finally {
    context.slots.release();
  }
}

function assertWithinLimits<User extends ConnectionIdentity>(
  { options, socket, maxRooms, maxWatched }: RequestContext<User>,
  frame: ClientFrame,
): void {
  switch (frame.type) {
    case 'join':
      if (!socket.isIn(frame.room) && socket.roomCount >= maxRooms) {
        throw new RequestError('LIMIT', `a socket may join ${maxRooms} rooms: leave one first`);
      }
      return;
    case 'update':
    case 'send':
    case 'typing':
      return assertJoined(socket, frame.room);
    case 'watch':
      if (socket.watching + notYetWatched(frame.users, socket) > maxWatched) {
        throw new RequestError('LIMIT', `a socket may watch ${maxWatched} users: unwatch some first`);
      }
      return;
    case 'request':
      if (!Object.hasOwn(options.requests ?? {}, frame.method)) {
        throw new RequestError('UNKNOWN_METHOD', `there is no method ${frame.method}`);
      }
  }
}

/** Synchronous if every answer of the application is. */
function authorizeFrame<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  frame: ClientFrame,
): boolean | Promise<boolean> {
  const answers: (boolean | Promise<boolean>)[] = [];
  for (const request of requestsOf(frame)) answers.push(ask(context, request));
  if (answers.every((answer) => typeof answer === 'boolean')) return !answers.includes(false);
  return Promise.all(answers).then((all) => !all.includes(false), rethrowAsHandlerError);
}

/**
 * Why the list of members is refused; the room can be joined without it. Other errors than `FORBIDDEN` refuse the join, because
 * they may be temporary: the client asks again. A rejection of the promise need not be handled.
 */
function refuseMembers<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  { room, members = false }: JoinFrame,
): RequestError | undefined | Promise<RequestError | undefined> {
  if (members === false) return undefined;
  const toRefusal = (allowed: boolean) => (allowed ? undefined : forbidden('members'));
  const answer = ask(context, { action: 'members', room, count: members === 'count' });
  if (!isThenable(answer)) return toRefusal(answer);
  const refusal = answer.then(toRefusal, (error: unknown) =>
    error instanceof RequestError && error.code === 'FORBIDDEN' ? error : rethrowAsHandlerError(error),
  );
  refusal.catch(() => {});
  return refusal;
}

/** Never throws. */
function ask<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  request: ClientRequest,
): boolean | Promise<boolean> {
  try {
    const answer = context.options.authorize(context.known.user, request);
    const accept = (settled: unknown) => context.accept(settled, request);
    return isThenable(answer) ? answer.then(accept) : accept(answer);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** One per watched user; the members of a `join` are asked for by {@link refuseMembers}. None for `leave`, `unwatch`, `refresh` and `ping`. */
function requestsOf(frame: ClientFrame): ClientRequest[] {
  switch (frame.type) {
    case 'join':
    case 'typing':
    case 'history':
      return [{ action: frame.type, room: frame.room }];
    case 'send':
      return [{ action: 'send', room: frame.room, event: frame.event, data: (frame.data ?? null) as Json }];
    case 'update':
      // A user who may not join must not change their `info` either.
      return [{ action: 'join', room: frame.room }];
    case 'watch':
      return [...new Set(frame.users)].map((userId) => ({ action: 'watch', userId }));
    case 'status':
      return [{ action: 'status', status: frame.status }];
    case 'request':
      return [{ action: 'request', method: frame.method, data: (frame.data ?? null) as Json }];
    case 'leave':
    case 'unwatch':
    case 'refresh':
    case 'ping':
      return [];
  }
}

/** Returns the reply's data, or a promise of it. */
function executeFrame<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  frame: ClientFrame,
  membersRefusal: RequestError | undefined,
): unknown {
  const { socket } = context;
  switch (frame.type) {
    case 'join':
      return handleJoin(context, frame, membersRefusal);
    case 'update':
      assertJoined(socket, frame.room);
      return socket.update(frame.room, (frame.info ?? null) as Json);
    case 'leave':
      return handleLeave(context, frame.room);
    case 'send':
      return handleSend(context, frame);
    case 'typing':
      return handleTyping(context, frame);
    case 'status':
      return socket.setStatus(frame.status);
    case 'watch':
      return socket.watch(frame.users);
    case 'unwatch':
      return socket.unwatch(frame.users);
    case 'history':
      return handleHistory(context, frame);
    case 'request':
      return handleApplicationRequest(context, frame);
    case 'refresh':
      return handleRefresh(context, frame);
    case 'ping':
      return undefined;
  }
}

async function handleJoin<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  { room, since, last, info, members }: JoinFrame,
  membersRefusal: RequestError | undefined,
): Promise<JoinReply> {
  const { socket, credentials } = context;
  const options: JoinOptions = {};
  if (since !== undefined) options.since = since;
  if (last !== undefined) options.last = last;
  if (info !== undefined) options.info = info as Json;
  if (members !== undefined && membersRefusal === undefined) options.members = members;
  const joined = socket.join(room, options);
  context.addJoin(room, joined);
  const { position } = await joined;
  if (membersRefusal !== undefined) await socket.endMembers(room, membersRefusal.message);
  // A client without credentials to replace cannot do anything about it.
  const expiresIn = credentials && context.permissionTimeLeft;
  return { ...(position && { position }), ...(expiresIn && { expiresIn }) };
}

function handleRefresh<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  frame: RefreshFrame,
): Promise<RefreshReply> {
  return inTurn(context, 'lastRefresh', () => refresh(context, frame));
}

/** Until new credentials are accepted, the old ones and their expiry stay. */
async function refresh<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  { id, url }: RefreshFrame,
): Promise<RefreshReply> {
  if (context.credentials === undefined) {
    throw new RequestError('INVALID', 'the credentials of this connection do not expire');
  }
  if (!context.isOpen()) return {};
  const known = await context.credentials.authenticate(url);
  // It may have expired in the meantime.
  if (!context.isOpen()) return {};
  if ('code' in known) {
    throw known.code === CloseCode.UNAVAILABLE
      ? new RequestError('UNAVAILABLE', known.reason, UNAVAILABLE_RETRY_AFTER)
      : new RequestError('FORBIDDEN', known.reason);
  }
  const { socket, identityChange } = context;
  if (known.userId !== socket.userId && identityChange) await changeIdentity(context, known);
  else if (known.userId !== socket.userId) {
    const reason = 'the credentials are of another user';
    context.sendError(new RequestError('FORBIDDEN', reason), id);
    // The client reconnects as that user. No reply follows.
    context.close(CloseCode.EXPIRED, reason);
    return {};
  }
  // The application may have changed it again.
  if (known.userId !== socket.userId) return {};
  context.known = known;
  const expiresIn = context.setExpiry(known.expiresAt);
  if (context.permissionTimeLeft !== undefined) await reauthorize(context);
  const timeLeft = context.permissionTimeLeft;
  return expiresIn === undefined && timeLeft === undefined
    ? {}
    : { expiresIn: Math.min(expiresIn ?? Number.POSITIVE_INFINITY, timeLeft ?? Number.POSITIVE_INFINITY) };
}

async function handleLeave<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  room: string,
): Promise<void> {
  const { socket, options } = context;
  const left = socket.leave(room, { notify: false });
  if (context.removeTyping(room)) await options.typing?.stop(room, socket.userId, { except: socket.id });
  await left;
}

async function handleTyping<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  { room, on }: TypingFrame,
): Promise<void> {
  const { socket, options } = context;
  assertJoined(socket, room);
  if (on) context.addTyping(room);
  else context.removeTyping(room);
  await options.typing?.[on ? 'start' : 'stop'](room, socket.userId, { except: socket.id });
}

function notYetWatched(users: readonly string[], socket: RoomSocket): number {
  let count = 0;
  for (const userId of new Set(users)) if (!socket.isWatching(userId)) count++;
  return count;
}

async function handleSend<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  { room, event, data = null, key, echo = true, keep = true }: SendFrame,
): Promise<SendResult> {
  const { socket, options } = context;
  // It may be another one after the wait.
  const { userId } = socket;
  await waitForJoin(context, room);
  const { rooms } = options;
  const keyed = key !== undefined && keep && rooms.hasHistory;
  const { position, duplicate } = await rooms.broadcast(room, event, data as Json, {
    from: userId,
    transient: !keep,
    ...(echo ? {} : { except: socket.clientId }),
    ...(keyed ? { idempotencyKey: scopeIdempotencyKey(userId, key) } : {}),
  });
  return {
    ...(position === undefined ? {} : { position }),
    ...(duplicate === true ? { duplicate } : {}),
  };
}

/** Another user's key must not suppress a message. */
function scopeIdempotencyKey(userId: string, key: string): string {
  return createHash('sha256').update(`${key}\n${userId}`).digest('base64url');
}

function handleHistory<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  frame: HistoryFrame,
): Promise<HistoryResult> {
  const { options, socket } = context;
  return inTurn(context, 'lastHistoryRead', async () =>
    socket.attached ? readRoomHistory(options.rooms, frame) : { events: [], more: false },
  );
}

/** Starts `work` when the connection's last one of its kind has ended, with or without an error. */
function inTurn<User extends ConnectionIdentity, T>(
  context: RequestContext<User>,
  kind: 'lastHistoryRead' | 'lastRefresh',
  work: () => Promise<T>,
): Promise<T> {
  const done = (context[kind] ?? Promise.resolve()).then(work);
  context[kind] = settled(done);
  return done;
}

async function handleApplicationRequest<User extends ConnectionIdentity>(
  { options, socket, known }: RequestContext<User>,
  { method, data = null }: RequestFrame,
): Promise<unknown> {
  try {
    return await options.requests?.[method]?.(socket, data as Json, known.user);
  } catch (error) {
    return rethrowAsHandlerError(error);
  }
}

/** The client cannot correct arguments of the application, but its own data. */
function rethrowAsHandlerError(error: unknown): never {
  const own =
    isRollcallError(error) &&
    !isClientFault(error) &&
    (error.code === 'ERR_INVALID_ARGUMENT' || error.code === 'ERR_SCHEMA');
  throw own ? new HandlerError(messageOf(error), { cause: error }) : error;
}

/** Otherwise the socket would not receive its own message. */
async function waitForJoin<User extends ConnectionIdentity>(
  context: RequestContext<User>,
  room: string,
): Promise<void> {
  await context.joinOf(room)?.catch(() => {});
  assertJoined(context.socket, room);
}

function assertJoined(socket: RoomSocket, room: string): void {
  if (!socket.isIn(room)) throw new RequestError('NOT_JOINED', 'join the room first');
}
