import type { Clock, Timer } from '../internal/clock.js';
import type { MemberInfo } from '../protocol/frames.js';
import { MemberPages } from './member-pages.js';
import type { PeerWriter } from './peer-writer.js';

/** While more bytes than this wait for a peer, the next page waits too, so that messages of rooms pass in between. */
const MAX_WAITING_BYTES = 65_536;
/** How often a peer's buffer is checked while a page waits for it, in ms. */
const DRAIN_CHECK_INTERVAL = 50;
/** Pages on their way to a peer that it has not confirmed; it may be the network that is slow. */
const MAX_UNCONFIRMED = 4;
/** Pages sent in one turn of the event loop; more would block it for milliseconds. */
const PAGES_PER_TURN = 8;

/**
 * Sends one peer the members of one room, as fast as the peer takes them: the complete list, then changes. Changes
 * that come before the peer has taken the pages before them are merged by user, so what waits is bounded.
 */
export class MemberSubscriber {
  readonly #room: string;
  readonly #writer: PeerWriter;
  readonly #clock: Clock;
  /** The pages that are being sent, and the next of them. */
  #pages: MemberPages | undefined;
  #next = 0;
  /** Changes to send after `#pages`. `undefined` until the complete list is known, which contains them. */
  #changes: Map<string, MemberInfo> | undefined;
  #unconfirmed = 0;
  #timer: Timer | undefined;

  constructor(room: string, writer: PeerWriter, clock: Clock) {
    this.#room = room;
    this.#writer = writer;
    this.#clock = clock;
  }

  /** Sends a complete list, and `changes` since it was made. The first page follows in a later turn: a join is answered first. */
  start(list: MemberPages, changes: ReadonlyMap<string, MemberInfo>): void {
    this.#pages = list;
    this.#next = 0;
    this.#changes = new Map(changes);
    this.#schedule(0);
  }

  /** Sends changes: `pages` if the peer has taken all pages before, otherwise merged with those that wait. */
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
      // Nothing waits behind the only page of a small room, or of a few changes.
      if (this.#pages?.single === false) this.#awaitConfirmation();
      // Known at once, so that the next change is sent without a merge.
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
      // A peer that cannot confirm does so here, within the loop.
      if (this.#unconfirmed-- === MAX_UNCONFIRMED && this.#pages !== undefined) this.#schedule(0);
    });
  }

  /** Makes pages of the changes that wait, if there are any. */
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
