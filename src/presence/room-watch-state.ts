import { isDeepStrictEqual } from 'node:util';
import type { Json } from '../internal/codec.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { RoomChange, RoomMember } from './types.js';

/** Gets a change of a watched room. */
export type RoomChangeHandler = (change: RoomChange) => unknown;

/** A change as update-rooms.lua publishes it. */
export type EncodedRoomChange = [
  type: RoomChange['type'],
  userId: string,
  version: number,
  info: Json,
  sockets: number,
];

/** @throws {@link DecodeError} for anything that update-rooms.lua of this release does not publish. */
export function decodeRoomChange(encoded: unknown): EncodedRoomChange {
  if (Array.isArray(encoded)) {
    const [type, userId, version, , sockets] = encoded as unknown[];
    if (
      (type === 'join' || type === 'leave' || type === 'update') &&
      typeof userId === 'string' &&
      Number.isSafeInteger(version) &&
      Number.isSafeInteger(sockets)
    ) {
      return encoded as EncodedRoomChange;
    }
  }
  throw new DecodeError('a published room change cannot be read: another release may have published it');
}

/** What one watch knows of its room. Snapshots and published changes are merged here and nowhere else. */
export class RoomWatchState {
  closed = false;
  readonly room: string;
  readonly #members = new Map<string, RoomMember>();
  readonly #handler: RoomChangeHandler;
  readonly #reporter: ErrorReporter;
  /** Changes that arrived while a snapshot is being read; applied after it. */
  #buffer: EncodedRoomChange[] | undefined;
  /** The first snapshot is the starting point: its members are not reported as joins. */
  #loaded = false;

  constructor(room: string, handler: RoomChangeHandler, reporter: ErrorReporter) {
    this.room = room;
    this.#handler = handler;
    this.#reporter = reporter;
  }

  get size(): number {
    return this.#members.size;
  }

  /** A copy of what is known now, by user id. */
  current(): Map<string, RoomMember> {
    return new Map([...this.#members].map(([userId, member]) => [userId, { ...member }]));
  }

  /** From now on changes wait for `applySnapshot`. */
  startSnapshot(): void {
    this.#buffer ??= [];
  }

  /** Applies a published change, or keeps it until the snapshot is there. */
  applyChange(change: EncodedRoomChange): void {
    if (this.#buffer !== undefined) this.#buffer.push(change);
    else this.#applyChange(change);
  }

  /** Replaces what is known by a snapshot, and reports the differences. */
  applySnapshot(members: readonly RoomMember[]): void {
    const buffered = this.#buffer ?? [];
    this.#buffer = undefined;
    const silent = !this.#loaded;
    this.#loaded = true;
    const present = new Set(members.map(({ userId }) => userId));
    for (const [userId, member] of [...this.#members]) {
      if (present.has(userId)) continue;
      this.#members.delete(userId);
      if (!silent) this.#notify('leave', { ...member, sockets: 0 });
    }
    for (const member of members) {
      const before = this.#members.get(member.userId);
      this.#members.set(member.userId, member);
      if (silent || isSameMember(before, member)) continue;
      this.#notify(before === undefined ? 'join' : 'update', member);
    }
    for (const change of buffered) this.#applyChange(change);
  }

  #applyChange([type, userId, version, info, sockets]: EncodedRoomChange): void {
    const before = this.#members.get(userId);
    if (before !== undefined && before.version >= version) return;
    const member: RoomMember = { userId, info, sockets, version };
    if (type === 'leave') {
      this.#members.delete(userId);
      // The snapshot was read after this user left.
      if (before !== undefined) this.#notify('leave', member);
      return;
    }
    this.#members.set(userId, member);
    // The owner restored a member that Redis had lost and this watch had not.
    if (isSameMember(before, member)) return;
    // The published type may be wrong for this watch, whose snapshot may contain the user already.
    this.#notify(before === undefined ? 'join' : 'update', member);
  }

  #notify(type: RoomChange['type'], member: RoomMember): void {
    if (this.closed) return;
    this.#reporter.runHandler(() => this.#handler({ ...member, type, room: this.room }), {});
  }
}

function isSameMember(before: RoomMember | undefined, member: RoomMember): boolean {
  return (
    before !== undefined && before.sockets === member.sockets && isDeepStrictEqual(before.info, member.info)
  );
}
