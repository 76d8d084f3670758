import { isOrigin, ORIGIN, type Position, positionTime } from './position.js';
import type { HistoryServer } from './server-identity.js';

export interface ChainLink {
  readonly position: Position;
  /** {@link ORIGIN} for the first message. */
  readonly previous: Position;
}

/**
 * Why a chain does not continue at a reader's position.
 *
 * - `trimmed`: the next message is no longer kept.
 * - `wiped`: the server has no record of earlier messages.
 * - `forked`: the server lost messages that the reader has received (a failover, for example), and continued
 *   from before them.
 */
export type UnrecoverableReason = 'trimmed' | 'wiped' | 'forked';

/** `position` is the reader's own. */
export function classifyBreak(position: Position, previous: Position): UnrecoverableReason {
  if (isOrigin(previous)) return 'wiped';
  return positionTime(previous) <= positionTime(position) ? 'forked' : 'trimmed';
}

/** Arrived during a read of history. */
export interface BufferedMessage<T extends ChainLink> {
  readonly link: T;
  /**
   * It arrived before the latest read began: if the server still has it, that read or a later one returns it.
   */
  readonly beforeRead: boolean;
}

export interface Page<T extends ChainLink> {
  /** Position of the channel's newest message. */
  readonly last: Position;
  readonly more: boolean;
  /**
   * If requested. Another server may have lost the last acknowledged messages, without a trace if no reader
   * had received them.
   */
  readonly server: HistoryServer | undefined;
  /** The server differs because the slot moved, which loses nothing. */
  readonly moved?: boolean;
  readonly messages: readonly T[];
}

/** Deliver a message, or report a gap. */
export type ChainStep<T extends ChainLink> =
  | { readonly type: 'message'; readonly message: T }
  | { readonly type: 'break'; readonly reason: UnrecoverableReason };

export interface ChainResult<T extends ChainLink> {
  readonly steps: readonly ChainStep<T>[];
  /** After all steps. */
  readonly position: Position | undefined;
  /** Live messages that need another read. */
  readonly buffered: readonly BufferedMessage<T>[];
  /** From `position`. */
  readonly readAgain: boolean;
}

/**
 * Merges a page with the live messages buffered meanwhile, from `position` (undefined: from the first). A message is
 * next if its predecessor was delivered last; otherwise there is a gap. Duplicates, order and page size do not change
 * the result.
 *
 * A gap before a message of the page is final, because the page begins at the reader's position. A gap before a live
 * message is final only if it arrived before the read began; otherwise history is read again. `highWaterMark`: time
 * of the latest message ever delivered, after a fork not the last one. A message that is neither later nor next is a
 * duplicate.
 */
export function mergeIntoChain<T extends ChainLink>(
  position: Position | undefined,
  page: Page<T>,
  buffered: readonly BufferedMessage<T>[],
  highWaterMark = position === undefined ? -1 : positionTime(position),
): ChainResult<T> {
  const steps: ChainStep<T>[] = [];
  let at = position;

  // The server's last message is older than ours: a fork, or a restart after a wipe. Live messages from its
  // beginning look like duplicates and are dropped.
  const behind = at !== undefined && page.last !== at && positionTime(page.last) <= positionTime(at);
  if (behind && at !== undefined) {
    steps.push({ type: 'break', reason: classifyBreak(at, page.last) });
    at = page.last;
  }

  // While there are more pages, later live messages wait.
  const end = page.more ? positionTime(page.messages.at(-1)?.position ?? ORIGIN) : Number.POSITIVE_INFINITY;
  const candidates = sortByPosition(page.messages, buffered);
  let readAgain = page.more;
  let done = 0;
  for (; done < candidates.length; done++) {
    const { link, from } = candidates[done] as MergeCandidate<T>;
    const time = positionTime(link.position);
    if (from !== undefined && time > end) break;
    // Arrived before the read, and lost by the server since.
    if (behind && from?.beforeRead === true && time > positionTime(page.last)) continue;
    if (at !== undefined && time <= positionTime(at)) continue;
    const next = at === undefined || follows(at, link.previous);
    // Delivered before, or written before a failover that lost it. Deliver it only if the page shows that it
    // is next.
    const doubtful = from !== undefined && time <= highWaterMark;
    if (doubtful && (!next || from.beforeRead)) continue;
    if (from?.beforeRead === false && (doubtful || !next)) {
      readAgain = true;
      break;
    }
    if (at !== undefined && !next) steps.push({ type: 'break', reason: classifyBreak(at, link.previous) });
    steps.push({ type: 'message', message: link });
    at = link.position;
  }

  if (!readAgain && at !== undefined && positionTime(at) < positionTime(page.last)) {
    // The newest message is neither kept nor buffered, or the channel was wiped.
    if (!follows(at, page.last)) {
      steps.push({ type: 'break', reason: isOrigin(page.last) ? 'wiped' : 'trimmed' });
    }
    at = page.last;
  }
  if (!page.more) at ??= page.last;

  const stillBuffered: BufferedMessage<T>[] = [];
  for (const { from } of candidates.slice(done)) if (from !== undefined) stillBuffered.push(from);
  return { steps, position: at, buffered: stillBuffered, readAgain };
}

/** `previous` is the predecessor of a message. */
export function follows(position: Position, previous: Position): boolean {
  return previous === position || (position === ORIGIN && isOrigin(previous));
}

interface MergeCandidate<T extends ChainLink> {
  readonly link: T;
  /** Undefined for a message of the page. */
  readonly from: BufferedMessage<T> | undefined;
}

/** By time; of duplicates, the page's copy is first. */
function sortByPosition<T extends ChainLink>(
  page: readonly T[],
  buffered: readonly BufferedMessage<T>[],
): MergeCandidate<T>[] {
  const candidates: MergeCandidate<T>[] = page.map((link) => ({ link, from: undefined }));
  for (const from of buffered) candidates.push({ link: from.link, from });
  return candidates.sort(
    (left, right) => positionTime(left.link.position) - positionTime(right.link.position),
  );
}
