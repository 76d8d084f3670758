import { copyJson } from '../client/client-error.js';
import {
  ClientError,
  type ClientSendResult,
  type MemberInfo,
  type Room,
  type RoomState,
  type SendOptions,
} from '../client/index.js';
import type { ClientRegistry } from './registry.js';
import type { RoomTimeline } from './room-timeline.js';
import type { RoomRequest, SharedRoom, TimelineRequest } from './shared-room.js';
import type { RoomDiscontinuity, RoomView, TimelineEvent } from './types.js';

type RoomSnapshot = Pick<
  RoomView,
  'state' | 'events' | 'discontinuities' | 'members' | 'count' | 'hasOlder' | 'hasNewer' | 'error'
>;

/** Events that a list begins with after a jump to the latest, unless the component asks for another number. */
const LATEST = 50;

const NO_EVENTS: readonly TimelineEvent[] = [];
const NO_GAPS: readonly RoomDiscontinuity[] = [];
const NO_MEMBERS: ReadonlyMap<string, MemberInfo> = new Map();

type RoomCalls = Omit<RoomView, keyof RoomSnapshot>;

/**
 * The functions of a component's views: the same for all stores of one room, because a change of options must not run
 * effects that depend on `send` again.
 */
export class StableCalls {
  /** The store that was subscribed last; before that, the first one: effects of children run earlier. */
  current: RoomStore | undefined;
  readonly calls: RoomCalls;

  constructor() {
    const calls = (): RoomCalls => (this.current as RoomStore).calls;
    this.calls = {
      send: (...args) => calls().send(...args),
      resend: (key) => calls().resend(key),
      discard: (key) => calls().discard(key),
      update: (info) => calls().update(info),
      loadOlder: (limit) => calls().loadOlder(limit),
      loadNewer: (limit) => calls().loadNewer(limit),
      loadUntil: (position) => calls().loadUntil(position),
      jumpToLatest: () => calls().jumpToLatest(),
      retry: () => calls().retry(),
    };
  }
}

/** One component's view. No effect before `subscribe` or a call. */
export class RoomStore {
  readonly #registry: ClientRegistry | undefined;
  readonly #name: string | null;
  readonly #request: RoomRequest;
  /** Replaced by `jumpToLatest`. */
  #log: TimelineRequest;
  #releaseTimeline = (): void => {};
  readonly calls: RoomCalls;
  readonly #stable: StableCalls;
  readonly #first: RoomView;
  #view: RoomView;
  #subscribed = false;

  constructor(
    registry: ClientRegistry | undefined,
    name: string | null,
    request: RoomRequest,
    log: TimelineRequest,
    stable = new StableCalls(),
  ) {
    this.#registry = registry;
    this.#name = name;
    this.#request = request;
    this.#log = log;
    this.#stable = stable;
    stable.current ??= this;
    this.calls = {
      send: (event: string, data: unknown, options: SendOptions = {}) => this.#send(event, data, options),
      resend: (key) => this.#ignore(this.#call(async (room, { sends }) => sends.resend(room, key))),
      discard: (key) => this.#shared?.sends.discard(key),
      update: (info) => this.#call((room) => room.update(info)),
      loadOlder: (limit) =>
        this.#load(async (room, shared) => (await shared.log(this.#log)?.loadOlder(room, limit)) ?? false),
      loadNewer: (limit) =>
        this.#load(async (room, shared) => (await shared.log(this.#log)?.loadNewer(room, limit)) ?? false),
      loadUntil: (position) =>
        this.#load(async (room, shared) => shared.log(this.#log)?.loadUntil(room, position)),
      jumpToLatest: () => this.#load((room, shared) => this.#jumpToLatest(room, shared)),
      retry: () => this.#shared?.retry(),
    };
    this.#first = {
      state: name === null ? 'idle' : 'joining',
      events: NO_EVENTS,
      discontinuities: NO_GAPS,
      members: NO_MEMBERS,
      count: 0,
      hasOlder: false,
      hasNewer: false,
      error: undefined,
      ...stable.calls,
    };
    this.#view = this.#first;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    if (this.#name === null || !this.#registry) return () => {};
    const shared = this.#registry.room(this.#name);
    this.#releaseTimeline = shared.addTimeline(this.#log);
    const release = shared.acquire(this.#request, listener);
    this.#subscribed = true;
    this.#stable.current = this;
    return () => {
      this.#releaseTimeline();
      release();
    };
  };

  readonly snapshot = (): RoomView => {
    const shared = this.#shared;
    const seen = shared ? this.#readSnapshot(shared, shared.log(this.#log)) : this.#first;
    const names = Object.keys(seen) as (keyof RoomSnapshot)[];
    if (names.some((name) => seen[name] !== this.#view[name])) this.#view = { ...this.#first, ...seen };
    return this.#view;
  };

  /** The room has been joined and the list begun, or will not be by itself. */
  readonly isSettled = (): boolean => {
    const shared = this.#shared;
    const { state } = this.snapshot();
    if (state !== 'joining' && state !== 'joined') return true;
    const log = shared?.log(this.#log);
    // The view shows the error of a list that cannot begin.
    return !!shared?.hasJoined && (log?.error !== undefined || !!log?.hasBegunWith(this.#log.last));
  };

  /** Why the room was refused before it was ever joined. */
  get refusal(): ClientError | undefined {
    const shared = this.#shared;
    return shared?.hasJoined ? undefined : shared?.error;
  }

  readonly serverSnapshot = (): RoomView => this.#first;

  #readSnapshot(shared: SharedRoom, log: RoomTimeline | undefined): RoomSnapshot {
    const { room } = shared;
    const state: RoomState = room?.state ?? 'joining';
    return {
      state,
      events: log?.listed ?? NO_EVENTS,
      discontinuities: log?.discontinuities ?? NO_GAPS,
      members: this.#request.members === true ? shared.members : NO_MEMBERS,
      count: this.#request.members ? shared.count : 0,
      hasOlder: !!room && (state === 'joined' || state === 'joining') && !!log?.hasOlder(room),
      hasNewer: !!log?.hasNewer,
      error: shared.error ?? log?.error,
    };
  }

  get #shared(): SharedRoom | undefined {
    return this.#name === null ? undefined : this.#registry?.known(this.#name);
  }

  #send(event: string, data: unknown, options: SendOptions): Promise<ClientSendResult> {
    if (options.echo === false || options.volatile)
      return this.#call((room) => room.send(event, data, options));
    // An event that cannot be sent at all is not listed.
    const isSendable = this.#isUsable && event && event[0] !== '$' && isJson(data);
    // Otherwise the component would not see what it sends.
    if (isSendable && this.#shared?.log(this.#log)?.isDetached) this.#ignore(this.calls.jumpToLatest());
    const sent = this.#call((room, { sends }) =>
      isSendable ? sends.send(room, event, data, options) : room.send(event, data, options),
    );
    return isSendable ? this.#ignore(sent) : sent;
  }

  /** Shows the list that ends with the latest event, once it has its events. */
  async #jumpToLatest(room: Room, shared: SharedRoom): Promise<void> {
    const shown = shared.log(this.#log);
    const last = this.#log.last || LATEST;
    const isOther = this.#log.around !== undefined && shown?.isDetached !== false;
    const latest = isOther ? { ...this.#log, around: undefined, last } : this.#log;
    if (isOther) shared.addTimeline(latest);
    try {
      await shared.log(latest)?.jumpToLatest(room, last);
    } catch (error) {
      // The state shows that the client or the room was closed.
      if (shown && (error as ClientError).code !== 'CLOSED') shown.error = error as ClientError;
      throw error;
    }
    if (!isOther) return;
    this.#releaseTimeline();
    this.#releaseTimeline = () => {};
    this.#log = latest;
  }

  /** The list shows the failure. */
  #ignore<T>(call: Promise<T>): Promise<T> {
    call.catch(() => {});
    return call;
  }

  /** When the promise settles, the view has the loaded events or the error: the caller may scroll to them. */
  async #load<T>(call: (room: Room, shared: SharedRoom) => Promise<T>): Promise<T> {
    try {
      return await this.#call(call);
    } finally {
      this.#shared?.notify();
    }
  }

  get #isUsable(): boolean {
    const hasUnmounted = this.#subscribed && !this.#shared;
    return this.#name !== null && this.#registry !== undefined && !hasUnmounted;
  }

  /**
   * The room stays joined until the call settles, because the component may unmount first ("send and close").
   * Effects of a child run before this component subscribes: their calls open the room.
   */
  async #call<T>(call: (room: Room, shared: SharedRoom) => Promise<T>): Promise<T> {
    if (!this.#isUsable || this.#name === null || !this.#registry) {
      throw new ClientError('CLOSED', 'the component is not in a room');
    }
    const shared = this.#registry.room(this.#name);
    const release = shared.acquire(this.#request, () => {});
    try {
      return await call(await shared.whenOpen(), shared);
    } finally {
      release();
    }
  }
}

function isJson(data: unknown): boolean {
  try {
    copyJson(data, 'data');
    return true;
  } catch {
    return false;
  }
}
