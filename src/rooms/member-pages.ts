import type { RoomMember } from '../presence/types.js';
import type { MemberInfo, MembersFrame } from '../protocol/frames.js';
import { EncodedFrame } from './room-message.js';

/** Members per frame. */
const PAGE_SIZE = 250;
/** Approximate characters of `info` per frame: a page must not fill a slow peer's buffer. */
const PAGE_CHARACTERS = 32_768;

/** Members as frames of bounded size. Peers share the frames, which are encoded on demand. */
export class MemberPages {
  readonly #room: string;
  readonly members: readonly MemberInfo[];
  /** A complete list, not changes. */
  readonly #reset: boolean;
  readonly #frames: EncodedFrame[] = [];
  /** Members in the frames made so far. */
  #cut = 0;

  constructor(room: string, members: readonly MemberInfo[], reset: boolean) {
    this.#room = room;
    this.members = members;
    this.#reset = reset;
  }

  /** One frame contains all members. */
  get single(): boolean {
    this.at(0);
    return this.#frames.length <= 1 && this.#cut === this.members.length;
  }

  /** `undefined` after the last page. A complete list has at least one. */
  at(index: number): EncodedFrame | undefined {
    while (this.#frames.length <= index && this.#hasMore) this.#frames.push(this.#cutPage());
    return this.#frames[index];
  }

  get #hasMore(): boolean {
    return this.#cut < this.members.length || (this.#reset && this.#frames.length === 0);
  }

  #cutPage(): EncodedFrame {
    const from = this.#cut;
    let characters = 0;
    while (this.#cut < this.members.length && this.#cut - from < PAGE_SIZE && characters < PAGE_CHARACTERS) {
      characters += lengthOf((this.members[this.#cut] as MemberInfo).info);
      this.#cut++;
    }
    const frame: MembersFrame = {
      type: 'members',
      room: this.#room,
      ...(this.#reset && from === 0 ? { reset: true } : {}),
      ...(this.#cut < this.members.length ? { more: true } : {}),
      members: this.members.slice(from, this.#cut),
    };
    return EncodedFrame.notice(frame);
  }
}

export function toMemberInfo({ userId, info, sockets }: RoomMember): MemberInfo {
  return { user: userId, info, sockets };
}

function lengthOf(info: unknown): number {
  if (typeof info === 'string') return info.length;
  return typeof info === 'object' && info !== null ? JSON.stringify(info).length : 4;
}
