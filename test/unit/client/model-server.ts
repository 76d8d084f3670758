import type { FakeSocket, Frame } from './harness.js';

interface StoredEvent {
  readonly position: string;
  readonly at: number;
  readonly event: string;
  readonly data: unknown;
  /** The user who sent it; missing for events of the server. */
  readonly from?: string | undefined;
}

interface Subscriber {
  readonly room: string;
  readonly connection: Connection;
}

/** How a connection handles one request. */
export type Fate = 'answer' | 'drop-before' | 'drop-after' | 'limit' | 'fail' | 'forbid';

/** A room with history, with the guarantees of the protocol. */
class ModelRoom {
  readonly history: StoredEvent[] = [];
  /** How many of the oldest events the history has lost. */
  trimmed = 0;
  readonly #keys = new Map<string, string>();

  /** Appends, unless the key is known. */
  append(
    event: string,
    data: unknown,
    key: string,
    from?: string,
  ): { stored: StoredEvent; duplicate: boolean } {
    const known = this.history.find(({ position }) => position === this.#keys.get(key));
    if (known) return { stored: known, duplicate: true };
    const at = this.history.length + 1;
    const stored = { position: `p${at}`, at, event, data, from };
    this.history.push(stored);
    this.#keys.set(key, stored.position);
    return { stored, duplicate: false };
  }

  after(position: string): StoredEvent[] {
    return this.history.slice(Math.max(this.trimmed, indexAfter(position)));
  }

  /** A page of events before a position, newest first. */
  before(position: string | undefined, limit: number): { events: StoredEvent[]; more: boolean } {
    const end = position === undefined ? this.history.length : indexAfter(position) - 1;
    const from = Math.max(this.trimmed, end - limit);
    return { events: this.history.slice(from, end).reverse(), more: from > this.trimmed };
  }

  /** A page of events after a position, oldest first. */
  since(position: string, limit: number): object {
    const missed = this.after(position);
    const isTrimmed = indexAfter(position) < this.trimmed;
    return {
      events: missed.slice(0, limit),
      more: missed.length > limit,
      ...(isTrimmed && { discontinuity: trimmedAt(position) }),
    };
  }

  /** The event at a position, with as many before it as after it, oldest first. */
  around(position: string, limit: number): object {
    const place = Math.max(indexAfter(position), this.trimmed);
    const from = Math.max(this.trimmed, place - Math.ceil(limit / 2));
    const to = place + Math.floor(limit / 2);
    const isTrimmed = indexAfter(position) <= this.trimmed;
    return {
      events: this.history.slice(from, to),
      more: to < this.history.length,
      older: from > this.trimmed,
      ...(isTrimmed && { discontinuity: trimmedAt(position) }),
    };
  }
}

/** Times of the model are the indexes of its events. */
function trimmedAt(position: string): object {
  return { reason: 'trimmed', since: indexAfter(position), recovered: false };
}

function indexAfter(position: string): number {
  return Number(position.slice(1));
}

/** Rooms with history, positions and keys, and connections that break at any point. */
export class ModelServer {
  readonly rooms = new Map<string, ModelRoom>();
  readonly #subscribers = new Set<Subscriber>();

  /** `fate` returns how the next request of a connection is handled. */
  constructor(readonly fate: () => Fate) {}

  room(name: string): ModelRoom {
    const room = this.rooms.get(name) ?? new ModelRoom();
    this.rooms.set(name, room);
    return room;
  }

  /** Publishes an event that the client did not send. */
  publish(name: string, data: unknown, event = 'message'): void {
    const { stored } = this.room(name).append(event, data, `server-${this.room(name).history.length}`);
    this.#dispatch(name, stored);
  }

  #dispatch(name: string, stored: StoredEvent): void {
    for (const { room, connection } of this.#subscribers) {
      if (room === name) connection.queue({ type: 'event', room: name, ...stored });
    }
  }

  drop(connection: Connection): void {
    for (const each of this.#subscribers) if (each.connection === connection) this.#subscribers.delete(each);
  }

  isIn(name: string, connection: Connection): boolean {
    return [...this.#subscribers].some((each) => each.room === name && each.connection === connection);
  }

  /** Runs a request, and queues its reply and events for the connection. */
  handle(frame: Frame, connection: Connection): void {
    const { type, id } = frame;
    const name = frame['room'] as string;
    const ok = (data?: unknown) => connection.queue({ type: 'ok', id, data });
    if (type === 'join') {
      const { history, trimmed } = this.room(name);
      const last = Math.min((frame['last'] as number | undefined) ?? 0, history.length - trimmed);
      const since = (frame['since'] as string | undefined) ?? `p${history.length - last}`;
      if (indexAfter(since) < trimmed) {
        connection.queue({
          type: 'discontinuity',
          room: name,
          reason: 'trimmed',
          since: 0,
          recovered: false,
        });
      }
      this.#subscribers.add({ room: name, connection });
      const missed = this.room(name).after(since);
      // Some missed events arrive before the reply, some after it.
      const early = missed.slice(0, missed.length >> 1);
      for (const stored of early) connection.queue({ type: 'event', room: name, ...stored });
      ok({ position: since });
      for (const stored of missed.slice(early.length))
        connection.queue({ type: 'event', room: name, ...stored });
    } else if (type === 'history') {
      const { before, since, around, limit = 50 } = frame as Frame & Partial<Record<string, never>>;
      const room = this.room(name);
      if (around) ok(room.around(around, limit));
      else ok(since ? room.since(since, limit) : room.before(before, limit));
    } else if (type === 'leave') {
      for (const each of this.#subscribers) {
        if (each.room === name && each.connection === connection) this.#subscribers.delete(each);
      }
      ok();
    } else if (type === 'send') {
      if (!this.isIn(name, connection)) {
        return connection.queue({ type: 'error', id, code: 'NOT_JOINED', message: 'no' });
      }
      const { stored, duplicate } = this.room(name).append(
        'message',
        frame.data,
        frame['key'] as string,
        'alice',
      );
      if (!duplicate) this.#dispatch(name, stored);
      ok({ position: stored.position, ...(duplicate ? { duplicate } : {}) });
    } else ok();
  }
}

/** The server's end of one fake socket. */
export class Connection {
  #waiting: object[] = [];
  #alive = true;

  constructor(
    readonly server: ModelServer,
    readonly socket: FakeSocket,
  ) {}

  get alive(): boolean {
    return this.#alive && this.socket.closed === undefined;
  }

  queue(frame: object): void {
    if (this.alive) this.#waiting.push(frame);
  }

  /** Handles up to `requests` requests, then delivers up to `frames` frames. */
  step(requests: number, frames: number): void {
    for (let i = 0; i < requests && this.alive && this.socket.sent.length > 0; i++) {
      const frame = this.socket.sent.shift() as Frame;
      const fate = frame.type === 'ping' ? 'answer' : this.server.fate();
      if (fate === 'drop-before') return this.end();
      if (fate === 'fail') {
        this.queue({ type: 'error', id: frame.id, code: 'INTERNAL', message: 'down' });
      } else if (fate === 'forbid' && frame.type === 'join') {
        this.queue({ type: 'error', id: frame.id, code: 'FORBIDDEN', message: 'no' });
      } else if (fate === 'limit') {
        this.queue({ type: 'error', id: frame.id, code: 'RATE_LIMITED', message: 'slow', retryAfter: 50 });
      } else this.server.handle(frame, this);
      if (fate === 'drop-after') return this.end();
    }
    for (const frame of this.#waiting.splice(0, frames)) if (this.alive) this.socket.receive(frame);
  }

  /** Breaks the connection. Queued frames are lost. */
  end(): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#waiting = [];
    this.server.drop(this);
    this.socket.end(1006);
  }
}
