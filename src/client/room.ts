import {
  type HistoryFrame,
  type HistoryResult,
  type JoinFrame,
  type JoinReply,
  type MemberInfo,
  type SendFrame,
  type ServerFrame,
  TYPING_EVENT,
} from '../protocol/frames.js';
import { assertValid, type ClientError, copyJson } from './client-error.js';
import { createEmitter } from './emitter.js';
import { uniqueId } from './platform.js';
import { type ErrorReason, type ReconnectingSocket, toClientError } from './reconnecting-socket.js';
import { createRecovery } from './recovery.js';
import { type JoinGate, NO_TIMEOUT, type RequestQueue } from './request-queue.js';
import { createTimer } from './timer.js';
import type { ClientJoinOptions, ClientSendResult, Room, RoomState } from './types.js';
import type { Typing } from './typing.js';

/** In bytes; with more on the way, a volatile event is dropped. */
const MAX_BUFFERED = 16_384;

/** With the methods that only the registry calls. */
export interface ClientRoom extends JoinGate {
  /** The registry adds `leave` for each join. */
  readonly room: Omit<Room, 'leave'>;
  /** The need for members of each join that has not left, by the result of `join`. */
  readonly joins: Map<Room, ClientJoinOptions['members']>;
  /** The greatest need of all joins: the list, or else the number. */
  readonly members: boolean | 'count';
  joinFrame(): JoinFrame;
  onJoined(reply: JoinReply | undefined): void;
  onLost(lostAt: number): void;
  onRetry(): void;
  /** Left or, with an error, refused. */
  onClosed(refusal?: ClientError): void;
  receive(frame: ServerFrame): void;
}

/** Lives from the first `join` to the last `leave`. */
export function createRoom(
  name: string,
  { last, since, info }: ClientJoinOptions,
  socket: ReconnectingSocket,
  queue: RequestQueue,
  retry: () => void,
): ClientRoom {
  if (info !== undefined) info = copyJson(info, 'info');
  const events = createEmitter(socket.report);
  /** Separate from the application's events, because names may be equal. */
  const { on, emit, clear } = createEmitter(socket.report);
  const recovery = createRecovery((discontinuity) => emit('discontinuity', discontinuity), since);
  const membersByUser = new Map<string, MemberInfo>();
  let members: ReadonlyMap<string, MemberInfo> | undefined;
  let count = 0;
  /** Its code is loaded with the first typing; imports of one module complete in the order of their calls. */
  let typing: Typing | undefined;
  let typingUsers: readonly string[] = [];
  let state!: RoomState;
  let error: ClientError | undefined;
  let resolveReady!: () => void;
  let rejectReady!: (error: ClientError) => void;
  let ready!: Promise<void>;
  const setState = (next: RoomState): void => {
    state = next;
    emit('state', next);
  };
  const begin = (): void => {
    error = undefined;
    ready = new Promise<void>((resolve, reject) => {
      resolveReady = resolve;
      rejectReady = reject;
    });
    // Need not be awaited.
    ready.catch(() => {});
    setState('joining');
  };
  begin();

  const joined = (): boolean => state === 'joined';
  const withTyping = async (task: (typing: Typing) => void): Promise<void> => {
    try {
      const { createTyping } = await import('./typing.js');
      typing ??= createTyping(name, socket, createTimer, joined, (users) => {
        typingUsers = users;
        emit('typingUsers', users);
      });
      if (joined() || state === 'joining') task(typing);
    } catch (error) {
      socket.report(error);
    }
  };
  const setTyping = (on: boolean) => withTyping((typing) => typing.set(on));
  const assertUsable = (): void => {
    if (error) throw error;
    if (state === 'left') throw socket.closedError();
  };

  const room: ClientRoom['room'] = {
    name,
    retry,
    get ready() {
      return ready;
    },
    get state() {
      return state;
    },
    get error() {
      return error;
    },
    get position() {
      return recovery.position();
    },
    get members() {
      members ??= new Map(membersByUser);
      return members;
    },
    get count() {
      return count;
    },
    get typingUsers() {
      return typingUsers;
    },
    on: events.on,
    onDiscontinuity: (handler) => on('discontinuity', handler),
    onMembers: (handler) => on('members', handler),
    onTypingUsers: (handler) => on('typingUsers', handler),
    onState: (handler) => on('state', handler),
    async send(event, data, options = {}) {
      const { echo, volatile, transient = volatile, key = uniqueId() } = options;
      assertValid(event && event[0] !== '$', 'event: empty, or begins with $');
      assertUsable();
      // Only a history recognizes a repeated key.
      const repeatable = () => !transient && !!recovery.position();
      const frame = {
        type: 'send',
        room: name,
        event,
        data: copyJson(data, 'data'),
        key,
        echo,
        keep: !transient && undefined,
      } as SendFrame;
      if (volatile) {
        if (!joined() || socket.buffered() > MAX_BUFFERED) return { dropped: true };
        socket.send(frame);
        return {};
      }
      return queue.request(() => frame, options, self, repeatable) as Promise<ClientSendResult>;
    },
    startTyping() {
      setTyping(true);
    },
    stopTyping() {
      setTyping(false);
    },
    async update(next) {
      assertUsable();
      info = copyJson(next ?? null, 'info');
      await queue.request(() => ({ type: 'update', room: name, info }), NO_TIMEOUT, self);
    },
    history: ({ timeout, signal, ...page } = {}) =>
      queue.request(() => ({ ...page, type: 'history', room: name }) as HistoryFrame, {
        timeout,
        signal,
      }) as Promise<HistoryResult>,
  };

  const self: ClientRoom = {
    room,
    joined,
    joins: new Map(),
    get members() {
      const asked = new Set(self.joins.values());
      return asked.has(true) || (asked.has('count') && 'count');
    },
    joinFrame() {
      const since = recovery.resume();
      return {
        type: 'join',
        room: name,
        members: self.members,
        since,
        last: since ? undefined : last,
        info,
      } as JoinFrame;
    },
    onRetry: begin,
    onJoined(reply) {
      recovery.onResumed(reply?.position);
      resolveReady();
      setState('joined');
      typing?.resume();
      if (joined()) queue.flush();
    },
    onLost(lostAt) {
      typing?.onLost();
      recovery.onLost(lostAt);
      if (joined()) setState('joining');
    },
    onClosed(refusal) {
      const reason = refusal ?? socket.closedError();
      error = refusal;
      typing?.clear();
      typingUsers = [];
      queue.close(reason, self);
      rejectReady(reason);
      setState(refusal ? 'refused' : 'left');
      if (refusal) return;
      events.clear();
      clear();
    },
    receive(frame) {
      if (frame.type === 'members') {
        if (frame.reset) membersByUser.clear();
        for (const member of frame.members) {
          if (member.sockets === 0) membersByUser.delete(member.user);
          else membersByUser.set(member.user, member);
        }
        members = undefined;
        if (frame.code) socket.report(toClientError(frame as ErrorReason));
        // Not the number of one page.
        if (!frame.more) count = frame.count ?? membersByUser.size;
        return emit('members', room.members);
      }
      recovery.receive(frame);
      if (frame.type !== 'event') return;
      if (frame.event === TYPING_EVENT) withTyping((typing) => typing.receive(frame));
      events.emitEvent(frame);
    },
  };
  return self;
}
