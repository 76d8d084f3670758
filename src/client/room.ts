import {
  type EventFrame,
  type HistoryResult,
  type JoinFrame,
  type JoinReply,
  type MemberInfo,
  type SendResult,
  type ServerFrame,
  TYPING_EVENT,
  type TypingData,
} from '../protocol/frames.js';
import { type ClientError, closedError } from './client-error.js';
import { Emitter } from './emitter.js';
import { assertValid } from './options.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import { NO_TIMEOUT, type RequestQueue } from './request-queue.js';
import type {
  ClientDiscontinuity,
  EventHandler,
  HistoryReadOptions,
  JoinOptions,
  Room,
  RoomState,
  SendOptions,
} from './types.js';
import { TypingSender, TypingUsers } from './typing.js';

/** One room, from the first `join` to the last `leave`. `Rooms` says when it is in. */
export class ClientRoom implements Room {
  // `declare`: the constructor sets these, and no code is spent on undefined before.
  declare readonly name: string;
  declare readonly ready: Promise<void>;
  /** How often it was joined and not left. */
  joinCount = 1;
  /** Members are wanted. */
  declare wantsMembers: boolean;
  /** What is shown to others. */
  declare info: unknown;
  error: ClientError | undefined;

  declare readonly leave: () => Promise<void>;
  state: RoomState = 'joining';
  position: string | undefined;

  readonly #line: ReconnectingSocket;
  readonly #outbox: RequestQueue;
  readonly #last: number | undefined;
  readonly #events: Emitter;
  /** What the client itself tells, apart from the application's events, so that no names can meet. */
  readonly #notices: Emitter;
  readonly #typing: TypingSender;
  readonly #typingUsers: TypingUsers;
  #arrived!: () => void;
  #failed!: (error: ClientError) => void;
  /** Something was told already, so that from now on a break is a gap. */
  #hasReceived = false;
  /** A position has come since the room was asked for. */
  #positionAdvanced = false;
  /** Since when events may have been missed, while nobody has said what became of them. */
  #gapSince: number | undefined;
  readonly #members = new Map<string, MemberInfo>();
  #snapshot: ReadonlyMap<string, MemberInfo> | undefined;

  constructor(
    name: string,
    { last, since, info, members }: JoinOptions,
    line: ReconnectingSocket,
    outbox: RequestQueue,
    leave: () => Promise<void>,
  ) {
    // Throws for what is no JSON, before anything is said.
    JSON.stringify(info);
    this.name = name;
    this.leave = leave;
    this.position = since;
    this.wantsMembers = !!members;
    this.#line = line;
    this.#outbox = outbox;
    this.#last = last;
    this.#events = new Emitter(line.report);
    this.#notices = new Emitter(line.report);
    this.ready = new Promise((resolve, reject) => {
      this.#arrived = resolve;
      this.#failed = reject;
    });
    // Whoever wants to know looks at `ready`; nobody has to.
    this.ready.catch(() => {});
    const { clock } = line.settings;
    this.#typing = new TypingSender(clock, (on) => line.send({ type: 'typing', room: name, on }));
    this.#typingUsers = new TypingUsers(clock, () => this.#notices.emit('typingUsers'));
    this.info = info;
  }

  get joined(): boolean {
    return this.state === 'joined';
  }

  get members(): ReadonlyMap<string, MemberInfo> {
    this.#snapshot ??= new Map(this.#members);
    return this.#snapshot;
  }

  get typingUsers(): readonly string[] {
    return this.#typingUsers.list;
  }

  on(event: string, handler: EventHandler<never>): () => void {
    return this.#events.on(event, handler);
  }

  onDiscontinuity(handler: (discontinuity: ClientDiscontinuity) => unknown): () => void {
    return this.#notices.on('discontinuity', handler);
  }

  onMembers(handler: (members: ReadonlyMap<string, MemberInfo>) => unknown): () => void {
    return this.#notices.on('members', () => handler(this.members));
  }

  onTypingUsers(handler: (typingUsers: readonly string[]) => unknown): () => void {
    return this.#notices.on('typingUsers', () => handler(this.typingUsers));
  }

  onState(handler: (state: RoomState) => unknown): () => void {
    return this.#notices.on('state', handler);
  }

  async send(event: string, data: unknown, options: SendOptions = {}): Promise<SendResult> {
    const { echo, transient, key = this.#line.settings.key() } = options;
    assertValid(event && event[0] !== '$', 'event: no name of yours');
    this.#assertUsable();
    // Only what goes into a history is recognised when it comes again.
    const repeatable = () => transient !== true && this.position !== undefined;
    const frame = {
      type: 'send',
      room: this.name,
      event,
      data,
      key,
      echo,
      keep: transient === true ? false : undefined,
    };
    return this.#outbox.request(frame, options, repeatable, this) as Promise<SendResult>;
  }

  startTyping(): void {
    if (this.joined) this.#typing.set(true);
  }

  stopTyping(): void {
    if (this.joined) this.#typing.set(false);
  }

  async update(info: unknown): Promise<void> {
    this.#assertUsable();
    // Throws for what is no JSON before anything is changed.
    JSON.stringify(info);
    this.info = info ?? null;
    const frame = () => ({ type: 'update', room: this.name, info: this.info });
    await this.#outbox.request(frame, NO_TIMEOUT, () => true, this);
  }

  history(options: HistoryReadOptions = {}): Promise<HistoryResult> {
    const { before, limit } = options;
    const frame = { type: 'history', room: this.name, before, limit };
    return this.#outbox.request(frame, options, () => true) as Promise<HistoryResult>;
  }

  /** The frame that asks for the room; what comes from now on is its. */
  createJoinFrame(): JoinFrame {
    this.#positionAdvanced = false;
    const since = this.position;
    const last = since === undefined ? this.#last : undefined;
    const members = this.wantsMembers || undefined;
    return { type: 'join', room: this.name, since, last, info: this.info, members } as JoinFrame;
  }

  /** The server has let the user in. */
  onJoined(answer: JoinReply | undefined): void {
    if (!this.#positionAdvanced) this.position = answer?.position;
    if (this.position === undefined) this.#emitDiscontinuity();
    this.#gapSince = undefined;
    this.#hasReceived = true;
    this.#arrived();
    this.#setState('joined');
    if (this.joined) this.#outbox.flush();
  }

  /** The room has to be asked for again; events may be missed that come after `lostAt`. */
  onConnectionLost(lostAt: number): void {
    this.#typing.reset();
    if (this.#hasReceived) this.#gapSince ??= lostAt;
    if (this.joined) this.#setState('joining');
  }

  /** It is over: refused by the server with an error, or left. */
  onClosed(refusal?: ClientError): void {
    const error = refusal ?? closedError();
    this.error = refusal;
    this.#typing.reset();
    this.#typingUsers.clear();
    this.#outbox.fail(error, this);
    this.#failed(error);
    this.#setState(refusal ? 'refused' : 'left');
    if (refusal) return;
    this.#events.clear();
    this.#notices.clear();
  }

  receive(frame: ServerFrame): void {
    if (frame.type === 'members') return this.#applyMembers(frame.members, frame.reset);
    // Without positions nothing makes up for a break, which has to be told before what came after it.
    if (frame.type === 'event' && this.position === undefined) this.#emitDiscontinuity();
    if ('position' in frame && frame.position !== undefined) {
      this.position = frame.position;
      this.#positionAdvanced = true;
    }
    this.#hasReceived = true;
    if (frame.type === 'event') this.#event(frame);
    if (frame.type === 'discontinuity') {
      this.#gapSince = undefined;
      this.#notices.emit('discontinuity', frame);
    }
  }

  #event(frame: EventFrame): void {
    const { event, data, from } = frame;
    if (event === TYPING_EVENT && from !== undefined && from !== this.#line.welcome?.user) {
      this.#typingUsers.update(from, (data as TypingData | null)?.ttl ?? 0);
    }
    this.#events.emitEvent(frame);
  }

  #applyMembers(members: readonly MemberInfo[], reset: boolean | undefined): void {
    if (reset) this.#members.clear();
    for (const member of members) {
      if (member.sockets === 0) this.#members.delete(member.user);
      else this.#members.set(member.user, member);
    }
    this.#snapshot = undefined;
    this.#notices.emit('members');
  }

  #emitDiscontinuity(): void {
    const since = this.#gapSince;
    this.#gapSince = undefined;
    if (since !== undefined)
      this.#notices.emit('discontinuity', { reason: 'reconnected', since, recovered: false });
  }

  #setState(state: RoomState): void {
    this.state = state;
    this.#notices.emit('state', state);
  }

  #assertUsable(): void {
    if (this.error) throw this.error;
    if (this.state === 'left') throw closedError();
  }
}
