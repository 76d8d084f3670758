import type { Clock, Timer } from '../internal/clock.js';
import type { MemberInfo } from '../protocol/frames.js';
import { MemberPages } from './member-pages.js';
import type { MemberView } from './member-view.js';
import type { PeerWriter } from './peer-writer.js';

/** With more bytes waiting, the next page waits too, so that messages pass in between. */
const MAX_WAITING_BYTES = 65_536;
/** In ms, while a page waits. */
const DRAIN_CHECK_INTERVAL = 50;
/** Pages that the peer has not confirmed; the network may be slow. */
const MAX_UNCONFIRMED = 4;
/** More would block the event loop for milliseconds. */
const PAGES_PER_TURN = 8;

/**
 * Sends a room's members to one peer, as fast as it takes them: the complete list, then changes. Changes behind
 * unsent pages are merged by user, so the wait is bounded.
 */
export class MemberSubscriber {
  readonly #room: string;
  readonly #writer: PeerWriter;
  readonly #clock: Clock;
  /** `undefined`: the peer may see all members. */
  readonly view: MemberView | undefined;
  /** The list being sent, with the index of its next page. */
  #pages: MemberPages | undefined;
  #next = 0;
  /** To send after `#pages`. `undefined` until the list, which contains them, is known. */
  #changes: Map<string, MemberInfo> | undefined;
  #unconfirmed = 0;
  #timer: Timer | undefined;

  constructor(room: string, writer: PeerWriter, clock: Clock, view: MemberView | undefined) {
    this.#room = room;
    this.#writer = writer;
    this.#clock = clock;
    this.view = view;
  }

  /** The first page follows in a later turn: the join is answered first. */
  start(list: MemberPages, changes: ReadonlyMap<string, MemberInfo>): void {
    this.#pages = list;
    this.#next = 0;
    this.#changes = new Map(changes);
    this.#schedule(0);
  }

  /** `pages` if the peer has taken all earlier ones; otherwise merged. */
  send(pages: MemberPages, changes: ReadonlyMap<string, MemberInfo>): void {
    if (this.#changes === undefined) return;
    if (this.#pages === undefined && this.#changes.size === 0) {
      this.#pages = pages;
      this.#next = 0;
      this.#sendPages();
    } else for (const [userId, member] of changes) this.#changes.set(userId, member);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#pages = undefined;
    this.#changes = undefined;
  }

  #sendPages(): void {
    for (let sent = 0; this.#writer.open; sent++) {
      if (this.#unconfirmed === MAX_UNCONFIRMED) return;
      if (sent === PAGES_PER_TURN) return this.#schedule(0);
      if (this.#writer.bufferedBytes > MAX_WAITING_BYTES) return this.#schedule(DRAIN_CHECK_INTERVAL);
      let frame = this.#pages?.at(this.#next);
      if (frame === undefined) {
        this.#takeChanges();
        frame = this.#pages?.at(0);
        if (frame === undefined) return;
      }
      this.#next++;
      this.#writer.sendNotice(frame);
      // The only page of a small room needs no pacing.
      if (this.#pages?.single === false) this.#awaitConfirmation();
      // At once, so that the next change needs no merge.
      if (this.#pages?.at(this.#next) === undefined) this.#takeChanges();
      if (this.#pages === undefined) return;
    }
    this.stop();
  }

  #awaitConfirmation(): void {
    this.#unconfirmed++;
    let confirmed = false;
    this.#writer.confirm(() => {
      if (confirmed) return;
      confirmed = true;
      // A peer without `confirm` calls back within the loop.
      if (this.#unconfirmed-- === MAX_UNCONFIRMED && this.#pages !== undefined) this.#schedule(0);
    });
  }

  #takeChanges(): void {
    const changes = this.#changes;
    this.#pages = undefined;
    this.#next = 0;
    if (changes === undefined || changes.size === 0) return;
    this.#pages = new MemberPages(this.#room, [...changes.values()], false);
    changes.clear();
  }

  #schedule(delay: number): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(delay, () => this.#sendPages(), { keepAlive: false });
  }
}
