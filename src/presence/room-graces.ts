import type { LocalSockets } from './local-sockets.js';
import type { PresenceWrite } from './writes.js';

/** Rooms per page. */
const PAGE_SIZE = 200;
/** After its last write a room is looked at so often: the write may be sent after the first time. */
const LOOKS = 2;

/** A page of rooms of one partition, escaped. */
export interface RoomPage {
  readonly rooms: readonly string[];
  /** Of HSCAN in the first room. */
  readonly cursor: string;
}

/**
 * Rooms in which this process has written sockets with a grace, or begun graces of a dead node: if Redis loses the ends of
 * graces, nothing else leads to them. A room stays until this process has no socket and no grace there.
 */
export class RoomGraces {
  readonly #localSockets: Pick<LocalSockets, 'isInRoom'>;
  /** Per partition, the next room first: the number of looks that are left. */
  readonly #rooms: Map<string, number>[];
  readonly #cursors: string[];
  /** Per partition, the first room if a part of it was read and has a grace. */
  readonly #partlyGraced: (string | undefined)[] = [];

  constructor(localSockets: Pick<LocalSockets, 'isInRoom'>, partitions: number) {
    this.#localSockets = localSockets;
    this.#rooms = Array.from({ length: partitions }, () => new Map());
    this.#cursors = this.#rooms.map(() => '0');
  }

  /** Before each write. */
  onWrite(partition: number, write: PresenceWrite): void {
    if (write.kind !== 'room') return;
    const ofDeadNode = write.owner !== undefined && write.grace !== undefined;
    if (ofDeadNode || write.info?.startsWith('~') === true) this.#rooms[partition]?.set(write.room, LOOKS);
  }

  /** `undefined`: no room. */
  nextPage(partition: number): RoomPage | undefined {
    const rooms: string[] = [];
    for (const room of (this.#rooms[partition] as Map<string, number>).keys()) {
      if (rooms.push(room) === PAGE_SIZE) break;
    }
    return rooms.length === 0 ? undefined : { rooms, cursor: this.#cursors[partition] as string };
  }

  /** `done`: the number of rooms that were read to their end. `cursor`: in the room after them. */
  onPageRead(
    partition: number,
    { rooms }: RoomPage,
    done: number,
    cursor: string,
    graced: ReadonlySet<string>,
  ): void {
    const all = this.#rooms[partition] as Map<string, number>;
    for (const room of rooms.slice(0, done)) {
      const needed =
        graced.has(room) || this.#partlyGraced[partition] === room || this.#localSockets.isInRoom(room);
      const looks = needed ? LOOKS : (all.get(room) ?? 0) - 1;
      all.delete(room);
      // Becomes the last in order.
      if (looks > 0) all.set(room, looks);
    }
    const next = rooms[done];
    const partly = next !== undefined && (graced.has(next) || this.#partlyGraced[partition] === next);
    this.#partlyGraced[partition] = partly ? next : undefined;
    this.#cursors[partition] = cursor;
  }
}
