import { isOrigin, ORIGIN, type Position, positionTime } from './position.js';
import type { HistoryServer } from './server-identity.js';

/** Links a message to the one before it in its channel. */
export interface ChainLink {
  readonly position: Position;
  /** The position of the message before it, or {@link ORIGIN}. */
  readonly previous: Position;
}

/**
 * Why a chain does not continue at a reader's position.
 * - `trimmed`: the next message existed and is no longer kept.
 * - `wiped`: the server has no record of earlier messages.
 * - `forked`: the server has lost messages that the reader has received, for example in a failover, and
 *   continued from before them.
 */
export type UnrecoverableReason = 'trimmed' | 'wiped' | 'forked';

/** Returns why the chain continues after `previous` instead of after `position`, the reader's own. */
export function classifyBreak(position: Position, previous: Position): UnrecoverableReason {
  if (isOrigin(previous)) return 'wiped';
  return positionTime(previous) <= positionTime(position) ? 'forked' : 'trimmed';
}

/** A message that arrived while history was being read. */
export interface BufferedMessage<T extends ChainLink> {
  readonly link: T;
  /** It arrived before the latest read began. So if the server still has it, that read or its successors return it. */
  readonly beforeRead: boolean;
}

/** A page of history. */
export interface Page<T extends ChainLink> {
  /** The position of the channel's newest message. */
  readonly last: Position;
  /** There are messages after these. */
  readonly more: boolean;
  /**
   * The server the page was read from, if that was requested. Another server may have lost the messages
   * that were acknowledged last, without a trace if no reader had received them.
   */
  readonly server: HistoryServer | undefined;
  /** The server is another one only because the channel's slot has moved, which loses nothing. */
  readonly moved?: boolean;
  readonly messages: readonly T[];
}

/** One step of {@link ChainResult.steps}: deliver a message, or report a gap. */
export type ChainStep<T extends ChainLink> =
  | { readonly type: 'message'; readonly message: T }
  | { readonly type: 'break'; readonly reason: UnrecoverableReason };

/** Result of {@link mergeIntoChain}. */
export interface ChainResult<T extends ChainLink> {
  /** To be carried out in this order. */
  readonly steps: readonly ChainStep<T>[];
  /** The reader's position after all steps. */
  readonly position: Position | undefined;
  /** Live messages that can be placed only after another read. */
  readonly buffered: readonly BufferedMessage<T>[];
  /** History must be read again, from `position`. */
  readonly readAgain: boolean;
}

/**
 * Merges a page of history with the live messages buffered meanwhile, from `position` on (undefined: from
 * the first of them). A message is next if its predecessor is the last one delivered; otherwise there is a
 * gap. Split, duplicates and order between page and buffer do not matter. Pure.
 *
 * A gap before a message of the page is final, because the page begins at the reader's position. A gap
 * before a live message is final only if that arrived before the read began; otherwise history is read
 * again. `highWaterMark` is the time of the latest message ever delivered; after a fork that is not the
 * last one. A message that is not later and not next has been delivered before.
 */
export function mergeIntoChain<T extends ChainLink>(
  position: Position | undefined,
  page: Page<T>,
  buffered: readonly BufferedMessage<T>[],
  highWaterMark = position === undefined ? -1 : positionTime(position),
): ChainResult<T> {
  const steps: ChainStep<T>[] = [];
  let at = position;

  // The server's last message is older than ours: its messages from now on are a fork, or start over
  // after a wipe. Live messages from its beginning look like messages delivered before, and are dropped.
  const behind = at !== undefined && page.last !== at && positionTime(page.last) <= positionTime(at);
  if (behind && at !== undefined) {
    steps.push({ type: 'break', reason: classifyBreak(at, page.last) });
    at = page.last;
  }

  // While there are more pages, live messages after this one wait.
  const end = page.more ? positionTime(page.messages.at(-1)?.position ?? ORIGIN) : Number.POSITIVE_INFINITY;
  const candidates = sortByPosition(page.messages, buffered);
  let readAgain = page.more;
  let done = 0;
  for (; done < candidates.length; done++) {
    const { link, from } = candidates[done] as MergeCandidate<T>;
    const time = positionTime(link.position);
    if (from !== undefined && time > end) break;
    // It arrived before the read, and the server has lost it since.
    if (behind && from?.beforeRead === true && time > positionTime(page.last)) continue;
    if (at !== undefined && time <= positionTime(at)) continue;
    const next = at === undefined || follows(at, link.previous);
    // Either already delivered, or written before a failover that lost it. Deliver it only if the page
    // shows that it is the next message.
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
    // The newest message is neither kept nor buffered, or the channel was wiped and is empty.
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

/** True if `previous`, the predecessor of a message, is where a reader at `position` is. */
export function follows(position: Position, previous: Position): boolean {
  return previous === position || (position === ORIGIN && isOrigin(previous));
}

interface MergeCandidate<T extends ChainLink> {
  readonly link: T;
  /** Undefined for a message of the page. */
  readonly from: BufferedMessage<T> | undefined;
}

/** Sorts both by time. If a message is in both, the page's copy is first. */
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
