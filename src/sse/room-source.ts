import { ORIGIN } from '../history/position.js';
import type { Json } from '../internal/codec.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertName, assertOptions } from '../internal/validate.js';
import type { Peer } from '../rooms/peer.js';
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
import type { RoomStreamOptions, StreamRoom, StreamUser } from './options.js';
import { positionUpdateOf, sseEncoder } from './sse-encoder.js';
import { type StreamSink, type StreamSource, sendDiscontinuity } from './stream-source.js';

/** What is sent to the user, or in one of his rooms. */
interface RoomCursor {
  readonly place: TrackedPosition;
  readonly known: ResumePoint;
}

/** Rooms with their reader in them, and what is sent to him. */
export class RoomSource implements StreamSource {
  readonly places: StreamPositions;
  readonly isResumed: boolean;
  readonly #rooms: RoomService;
  readonly #user: StreamUser;
  readonly #watch: readonly string[];
  readonly #joins: readonly StreamRoom[];
  /** By room; `undefined` is the user himself. */
  readonly #heard = new Map<string | undefined, RoomCursor>();
  #socket: RoomSocket | undefined;

  constructor({ rooms, user, join = [], watch = [], ...rest }: RoomStreamOptions, lastEventId?: string) {
    if (typeof rooms?.attach !== 'function') throw new InvalidArgumentError('rooms', 'must be a RoomService');
    if ('maxBufferedBytes' in rest)
      throw new InvalidArgumentError('maxBufferedBytes', 'is for the RoomService to say');
    assertOptions('user', user ?? null);
    assertName('user.userId', user.userId);
    if (!Array.isArray(join) || join.length >= MAX_CHANNELS) {
      throw new InvalidArgumentError('join', `must be a list of at most ${MAX_CHANNELS - 1} rooms`);
    }
    this.#rooms = rooms;
    this.#user = user;
    this.#watch = [...watch];
    for (const userId of this.#watch) assertName('watch', userId);
    this.#joins = join.map((given, at) => toStreamRoom(given, `join[${at}]`));
    const last = new LastEventId(lastEventId);
    this.isResumed = last.isPresent;
    this.#add(undefined, toChannelKey(`user:${user.userId}`), last);
    for (const { room } of this.#joins) this.#add(room, toChannelKey(`room:${room}`), last);
    if (this.#heard.size <= join.length) throw new InvalidArgumentError('join', 'must not name a room twice');
    this.places = new StreamPositions(Array.from(this.#heard.values(), ({ place }) => place));
  }

  get ended(): boolean {
    return this.#socket?.attached === false;
  }

  async start(sink: StreamSink): Promise<Record<string, Json>> {
    for (const [room, { place, known }] of this.#heard) {
      const untold = known.since === ORIGIN && !this.#rooms.hasHistory;
      if (known.lost || untold)
        sendDiscontinuity(sink, room === undefined ? {} : { room }, 'reconnected', place);
    }
    const { userId, status, meta } = this.#user;
    const since = this.#heard.get(undefined)?.known.since;
    const socket = await this.#rooms.attach(this.#peerOf(sink), {
      userId,
      ...(status === undefined ? {} : { status }),
      ...(meta === undefined ? {} : { meta }),
      ...(since === undefined ? {} : { since }),
    });
    this.#socket = socket;
    if (!sink.open) return {};
    this.#setInitialPosition(undefined, socket.position);
    await Promise.all([
      ...this.#joins.map((join) => this.#join(socket, join)),
      this.#watch.length > 0 ? socket.watch(this.#watch) : undefined,
    ]);
    return { socket: socket.id };
  }

  async stop(): Promise<void> {
    await this.#socket?.detach();
  }

  async #join(socket: RoomSocket, { room, since, last, ...rest }: StreamRoom): Promise<void> {
    const known = this.#heard.get(room)?.known.since;
    const begin = known === undefined ? { since, last } : { since: known, last: undefined };
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
        const block = frame as Buffer;
        const moved = positionUpdateOf(block);
        const place = moved && this.#heard.get(moved.room)?.place;
        if (place !== undefined) place.position = moved?.position;
        sink.send(block, moved !== undefined);
      },
      close: (code, reason) => void sink.close(code, reason),
    };
  }

  /** Where it begins, unless something came already. */
  #setInitialPosition(room: string | undefined, position: string | undefined): void {
    const place = this.#heard.get(room)?.place;
    if (place !== undefined) place.position ??= position;
  }

  #add(room: string | undefined, key: string, lastEventId: LastEventId): void {
    const known = lastEventId.of(key);
    this.#heard.set(room, { place: { key, position: known.since }, known });
  }
}

function toStreamRoom(given: unknown, argument: string): StreamRoom {
  const entry = (typeof given === 'string' ? { room: given } : given) as StreamRoom;
  assertOptions(argument, entry ?? null);
  assertName(`${argument}.room`, entry.room);
  assertJoinOptions(entry, `${argument}.`);
  return entry;
}
