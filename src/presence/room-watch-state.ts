import { isDeepStrictEqual } from 'node:util';
import type { Json } from '../internal/codec.js';
import type { ErrorReporter } from '../internal/diagnostics.js';
import { DecodeError } from '../internal/errors.js';
import type { RoomChange, RoomMember } from './types.js';

/** Receives a change of a watched room. */
export type RoomChangeHandler = (change: RoomChange) => unknown;

/** As update-rooms.lua publishes it. */
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

/** Known members of one watch. The only place that merges snapshots and published changes. */
export class RoomWatchState {
  closed = false;
  readonly room: string;
  readonly #members = new Map<string, RoomMember>();
  readonly #handler: RoomChangeHandler;
  readonly #reporter: ErrorReporter;
  /** During a read of the snapshot; applied after it. */
  #buffer: EncodedRoomChange[] | undefined;
  /** Members of the first snapshot are not reported as joins. */
  #loaded = false;

  constructor(room: string, handler: RoomChangeHandler, reporter: ErrorReporter) {
    this.room = room;
    this.#handler = handler;
    this.#reporter = reporter;
  }

  get size(): number {
    return this.#members.size;
  }

  current(): Map<string, RoomMember> {
    return new Map([...this.#members].map(([userId, member]) => [userId, { ...member }]));
  }

  /** Later changes wait for `applySnapshot`. */
  startSnapshot(): void {
    this.#buffer ??= [];
  }

  applyChange(change: EncodedRoomChange): void {
    if (this.#buffer !== undefined) this.#buffer.push(change);
    else this.#applyChange(change);
  }

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
    // The owner restored a member that this watch still had.
    if (isSameMember(before, member)) return;
    // For this watch, whose snapshot may contain the user, the published type may be wrong.
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
