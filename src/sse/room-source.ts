import { randomUUID } from 'node:crypto';
import { isOrigin } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { BannedError, InvalidArgumentError } from '../internal/errors.js';
import { assertName, assertOptions } from '../internal/validate.js';
import { assertVisible } from '../internal/viewer-filter.js';
import { CloseCode } from '../protocol/close-codes.js';
import type { Peer } from '../rooms/peer-writer.js';
import { assertJoinOptions } from '../rooms/room-membership.js';
import type { RoomService } from '../rooms/room-service.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import {
  LastEventId,
  MAX_CHANNELS,
  type ResumePoint,
  StreamPositions,
  type TrackedPosition,
  toChannelKey,
} from './last-event-id.js';
import { STREAM_ROOM_NAMES, STREAM_USER_NAMES } from './option-names.js';
import type { RoomStreamOptions, StreamRoom, StreamUser } from './options.js';
import { positionUpdateOf, sseEncoder } from './sse-encoder.js';
import { type StreamSink, type StreamSource, sendDiscontinuity } from './stream-source.js';

/** The client's cursor in one room, or in the user's messages. */
interface RoomCursor {
  readonly tracked: TrackedPosition;
  readonly resume: ResumePoint;
}

/** Rooms with the reader as member, and messages to the user. */
export class RoomSource implements StreamSource {
  readonly positions: StreamPositions;
  readonly isResumed: boolean;
  readonly #rooms: RoomService;
  readonly #user: StreamUser;
  readonly #watch: readonly string[];
  readonly #visible: RoomStreamOptions['visible'];
  readonly #joins: readonly StreamRoom[];
  /** `undefined`: messages to the user. */
  readonly #cursors = new Map<string | undefined, RoomCursor>();
  readonly #clientId: string;
  #socket: RoomSocket | undefined;

  constructor(
    { rooms, user, join = [], watch = [], visible, ...rest }: RoomStreamOptions,
    lastEventId?: string,
  ) {
    if (typeof rooms?.attach !== 'function')
      throw new InvalidArgumentError('rooms', 'must be a RoomService: pass the rooms of createRollcall');
    if ('maxBufferedBytes' in rest)
      throw new InvalidArgumentError(
        'maxBufferedBytes',
        'is an option of the RoomService, not of a stream of rooms',
      );
    if (user === undefined) throw new InvalidArgumentError('user', 'is missing: pass { userId }');
    assertOptions('user', user ?? null, STREAM_USER_NAMES);
    assertName('user.userId', user.userId);
    if (!Array.isArray(join) || join.length >= MAX_CHANNELS) {
      throw new InvalidArgumentError('join', `must be a list of at most ${MAX_CHANNELS - 1} rooms`);
    }
    this.#rooms = rooms;
    this.#user = user;
    assertVisible(visible);
    this.#visible = visible;
    this.#watch = [...watch];
    for (const userId of this.#watch) assertName('watch', userId);
    this.#joins = join.map((given, at) => toStreamRoom(given, `join[${at}]`));
    const parsed = new LastEventId(lastEventId);
    this.isResumed = parsed.isPresent;
    this.#clientId = parsed.clientId ?? randomUUID();
    this.#addCursor(undefined, toChannelKey(`user:${user.userId}`), parsed);
    for (const { room } of this.#joins) this.#addCursor(room, toChannelKey(`room:${room}`), parsed);
    if (this.#cursors.size <= join.length)
      throw new InvalidArgumentError('join', 'must not name a room twice');
    this.positions = new StreamPositions(
      Array.from(this.#cursors.values(), ({ tracked }) => tracked),
      this.#clientId,
    );
  }

  get ended(): boolean {
    return this.#socket?.attached === false;
  }

  async start(sink: StreamSink): Promise<Record<string, Json>> {
    for (const [room, { tracked, resume }] of this.#cursors) {
      // Without history, the position of an empty room proves nothing about messages since.
      const unknown = resume.since !== undefined && isOrigin(resume.since) && !this.#rooms.hasHistory;
      if (resume.lost || unknown)
        sendDiscontinuity(sink, room === undefined ? {} : { room }, 'reconnected', tracked);
    }
    const { userId, status, meta } = this.#user;
    const since = this.#cursors.get(undefined)?.resume.since;
    const socket = await this.#rooms.attach(this.#peerOf(sink), {
      userId,
      clientId: this.#clientId,
      ...(status === undefined ? {} : { status }),
      ...(meta === undefined ? {} : { meta }),
      ...(since === undefined ? {} : { since }),
      ...(this.#visible && { visible: this.#visible }),
    });
    this.#socket = socket;
    const showsOthers = this.#watch.length > 0 || this.#joins.some(({ members }) => members);
    socket.serve({
      // The application decides about the next request of the client, which comes by itself.
      recheck: async () => {
        if (showsOthers) void sink.close(CloseCode.SERVICE_RESTART, 'permissions may have changed');
      },
    });
    if (!sink.open) return {};
    this.#setInitialPosition(undefined, socket.position);
    await Promise.all([
      ...this.#joins.map((join) => this.#joinUnlessBanned(sink, socket, join)),
      this.#watch.length > 0 ? socket.watch(this.#watch) : undefined,
    ]);
    return { socket: socket.id, client: socket.clientId };
  }

  async stop(): Promise<void> {
    await this.#socket?.detach();
  }

  /** The rest of the stream does not depend on one room. */
  async #joinUnlessBanned(sink: StreamSink, socket: RoomSocket, join: StreamRoom): Promise<void> {
    try {
      await this.#join(socket, join);
    } catch (error) {
      if (!(error instanceof BannedError)) throw error;
      sink.sendControl('$error', { room: join.room, code: 'KICKED', message: error.message });
    }
  }

  async #join(socket: RoomSocket, { room, since, last, ...rest }: StreamRoom): Promise<void> {
    // The client's position replaces the start for new clients.
    const resumeAt = this.#cursors.get(room)?.resume.since;
    const begin = resumeAt === undefined ? { since, last } : { since: resumeAt, last: undefined };
    const { position } = await socket.join(room, {
      ...rest,
      ...(begin.since === undefined ? {} : { since: begin.since }),
      ...(begin.last === undefined ? {} : { last: begin.last }),
    });
    this.#setInitialPosition(room, position);
  }

  #peerOf(sink: StreamSink): Peer {
    return {
      format: sseEncoder,
      get bufferedAmount() {
        return sink.buffered;
      },
      send: (frame) => {
        const event = frame as Buffer;
        const update = positionUpdateOf(event);
        const tracked = update && this.#cursors.get(update.room)?.tracked;
        if (tracked !== undefined) tracked.position = update?.position;
        sink.send(event, update !== undefined);
      },
      close: (code, reason) => void sink.close(code, reason),
    };
  }

  /** Sets the start, unless a message has moved it already. */
  #setInitialPosition(room: string | undefined, position: string | undefined): void {
    const tracked = this.#cursors.get(room)?.tracked;
    if (tracked !== undefined) tracked.position ??= position;
  }

  #addCursor(room: string | undefined, key: string, lastEventId: LastEventId): void {
    const resume = lastEventId.resumePoint(key);
    this.#cursors.set(room, { tracked: { key, position: resume.since }, resume });
  }
}

function toStreamRoom(given: unknown, argument: string): StreamRoom {
  const entry = (typeof given === 'string' ? { room: given } : given) as StreamRoom;
  assertOptions(argument, entry ?? null, STREAM_ROOM_NAMES);
  assertName(`${argument}.room`, entry.room);
  const { room: _, ...options } = entry;
  assertJoinOptions(options, `${argument}.`);
  return entry;
}
