import { ORIGIN, type Position, positionTime } from './position.js';

/** A message's place in its channel's chain. */
export interface ChainLink {
  readonly position: Position;
  /** The position of the message before it, or {@link ORIGIN}. */
  readonly previous: Position;
}

/**
 * Why a chain does not go on where a reader stood. `trimmed`: what came next was there, and is not kept
 * any more. `wiped`: the server knows nothing of before. `forked`: the server has lost what the reader
 * has seen, by a failover say, and went on from before it.
 */
export type UnrecoverableReason = 'trimmed' | 'wiped' | 'forked';

/** Why the chain continues from `previous` instead of from `position`, where a reader stood. */
export function classifyBreak(position: Position, previous: Position): UnrecoverableReason {
  if (previous === ORIGIN) return 'wiped';
  return positionTime(previous) <= positionTime(position) ? 'forked' : 'trimmed';
}

/** A message that arrived while history was being read. */
export interface BufferedMessage<T extends ChainLink> {
  readonly link: T;
  /** It arrived before the latest reading began: if it is in the chain at all, it can be reached. */
  readonly beforeRead: boolean;
}

/** A page of history. */
export interface Page<T extends ChainLink> {
  /** The position of the channel's newest message. */
  readonly last: Position;
  /** There are messages after these. */
  readonly more: boolean;
  /**
   * The server that has them, or '' where it does not say: another one, or the same one restarted, may
   * have lost what was acknowledged last, without a trace if nobody had got it.
   */
  readonly server: string;
  readonly messages: readonly T[];
}

/** What {@link mergeIntoChain} decides, in the order in which it is to be done. */
export type ChainStep<T extends ChainLink> =
  | { readonly type: 'message'; readonly message: T }
  | { readonly type: 'break'; readonly reason: UnrecoverableReason };

/** Where a reader stands after {@link mergeIntoChain}. */
export interface ChainResult<T extends ChainLink> {
  readonly steps: readonly ChainStep<T>[];
  readonly position: Position | undefined;
  /** What still waits, because it needs more of the history. */
  readonly held: readonly BufferedMessage<T>[];
  /** History has to be read on, or again. */
  readonly readAgain: boolean;
}

/**
 * The chain rule: a message whose predecessor is the last one delivered is next; any other is a hole.
 * Goes on from `position` (undefined: from wherever it begins) through a page of history and the
 * messages that arrived meanwhile, whatever their split, duplicates and order between the two. Pure.
 *
 * A hole before a message of the page is final, for the page begins where the reader stood. One before
 * a message that arrived live is final only if that was there before the reading began; else history
 * is read again. `floor` is the time of the latest message ever delivered, which is not the last one
 * after a fork: what is no later, and not next, has been delivered before.
 */
export function mergeIntoChain<T extends ChainLink>(
  position: Position | undefined,
  page: Page<T>,
  held: readonly BufferedMessage<T>[],
  floor = position === undefined ? -1 : positionTime(position),
): ChainResult<T> {
  const steps: ChainStep<T>[] = [];
  let at = position;

  // The server stands behind us: what it has from now on is another branch, or another life. What we
  // have of its beginning cannot be told from what was delivered before, and is given up.
  const behind = at !== undefined && page.last !== at && positionTime(page.last) <= positionTime(at);
  if (behind && at !== undefined) {
    steps.push({ type: 'break', reason: classifyBreak(at, page.last) });
    at = page.last;
  }

  // Beyond the page's end, while there is more of it, what is held has to wait.
  const end = page.more ? positionTime(page.messages.at(-1)?.position ?? ORIGIN) : Number.POSITIVE_INFINITY;
  const candidates = sortByPosition(page.messages, held);
  let readAgain = page.more;
  let done = 0;
  for (; done < candidates.length; done++) {
    const { link, from } = candidates[done] as MergeCandidate<T>;
    const time = positionTime(link.position);
    if (from !== undefined && time > end) break;
    // It was there before the reading, and the server does not know it any more.
    if (behind && from?.beforeRead === true && time > positionTime(page.last)) continue;
    if (at !== undefined && time <= positionTime(at)) continue;
    const next = at === undefined || link.previous === at;
    // Delivered before, or of a branch that is lost; the page knows whether it is next all the same.
    const doubtful = from !== undefined && time <= floor;
    if (doubtful && (!next || from.beforeRead)) continue;
    if (from?.beforeRead === false && (doubtful || !next)) {
      readAgain = true;
      break;
    }
    if (at !== undefined && !next) steps.push({ type: 'break', reason: classifyBreak(at, link.previous) });
    steps.push({ type: 'message', message: link });
    at = link.position;
  }

  // The newest message is neither kept nor at hand.
  if (!readAgain && at !== undefined && positionTime(at) < positionTime(page.last)) {
    steps.push({ type: 'break', reason: 'trimmed' });
    at = page.last;
  }
  if (!page.more) at ??= page.last;

  const waiting: BufferedMessage<T>[] = [];
  for (const { from } of candidates.slice(done)) if (from !== undefined) waiting.push(from);
  return { steps, position: at, held: waiting, readAgain };
}

interface MergeCandidate<T extends ChainLink> {
  readonly link: T;
  /** Undefined for a message of the page. */
  readonly from: BufferedMessage<T> | undefined;
}

/** Both by time; where one message is in both, the page's copy comes first. */
function sortByPosition<T extends ChainLink>(
  page: readonly T[],
  held: readonly BufferedMessage<T>[],
): MergeCandidate<T>[] {
  const candidates: MergeCandidate<T>[] = page.map((link) => ({ link, from: undefined }));
  for (const from of held) candidates.push({ link: from.link, from });
  return candidates.sort(
    (left, right) => positionTime(left.link.position) - positionTime(right.link.position),
  );
}
