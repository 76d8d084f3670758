import { mergeIntoChain, type Page, type UnrecoverableReason } from '../history/chain.js';
import type { HistoryReader, ReadRequest, StoredMessage } from '../history/history-reader.js';
import { assertPosition, type Position, positionTime } from '../history/position.js';
import { numberOption } from '../internal/validate.js';
import type { ClientHandle } from '../redis/client-handle.js';
import type { ResolvedChannel } from './channel.js';
import { DECODE_FAILED, decodePayload } from './delivery.js';
import type {
  ChannelRecoverResult,
  HistoryMessage,
  HistoryPage,
  HistoryReadOptions,
  RecoverResult,
} from './options.js';
import type { ServiceContext } from './service-context.js';

/** What a service reads histories with. */
export interface HistoryContext {
  readonly link: ClientHandle;
  readonly reader: HistoryReader;
  readonly audience: ServiceContext;
  /** A page ends before the message that would take it over so many bytes. */
  readonly maxBytes: number;
}

/** One channel to be recovered. */
export interface RecoverTarget {
  readonly channel: ResolvedChannel;
  readonly since: Position;
}

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1_000;

/** How many messages, at most, one call may ask for. */
export function limitOption(limit: unknown): number {
  return numberOption('limit', limit, DEFAULT_LIMIT, { min: 1, max: MAX_LIMIT, integer: true });
}

/** Reads a page of `channel`'s history. */
export async function readHistory<T>(
  replay: HistoryContext,
  channel: ResolvedChannel,
  { since, before, limit, reverse = false }: HistoryReadOptions,
): Promise<HistoryPage<T>> {
  if (since !== undefined) assertPosition('since', since);
  if (before !== undefined) assertPosition('before', before);
  const request = requestFor(replay, channel, limitOption(limit), since);
  const pages = await readPages(replay, 'history', [{ ...request, before, reverse }]);
  const page = pages[0] as Page<StoredMessage>;
  // Only where the chain comes to an end can be said whether it does so in the right place.
  const reason = reverse || before !== undefined ? undefined : findBreak(since, page);
  return {
    messages: decodeMessages<T>(replay, channel, page.messages),
    position: lastPositionOf(page),
    more: page.more,
    complete: reason === undefined,
    ...(reason === undefined ? {} : { reason }),
  };
}

/** Reads what came on some channels after the positions given. */
export async function recoverChannels<T>(
  replay: HistoryContext,
  wanted: readonly RecoverTarget[],
  limit: number,
): Promise<RecoverResult<T>> {
  const requests = wanted.map(({ channel, since }) => requestFor(replay, channel, limit, since));
  const pages = await readPages(replay, 'recover', requests);
  const channels = new Map<string, ChannelRecoverResult<T>>();
  const unrecovered: string[] = [];
  wanted.forEach(({ channel, since }, at) => {
    const page = pages[at] as Page<StoredMessage>;
    const shown = replay.audience.stripPrefix(channel.kind, channel.name);
    const reason = findBreak(since, page) ?? (page.more ? 'limit' : undefined);
    if (reason !== undefined) unrecovered.push(shown);
    channels.set(shown, {
      messages: decodeMessages<T>(replay, channel, page.messages),
      position: lastPositionOf(page),
      recovered: reason === undefined,
      ...(reason === undefined ? {} : { reason }),
    });
  });
  return { channels, unrecovered };
}

function requestFor(
  { maxBytes }: HistoryContext,
  { name, codec }: ResolvedChannel,
  limit: number,
  after: Position | undefined,
): ReadRequest {
  return { channel: name, after, limit, binary: codec.binary === true, maxBytes };
}

/** Reads pages of some channels, in as few round trips as there can be, within the deadline. */
async function readPages(
  { link, reader }: HistoryContext,
  what: string,
  requests: readonly ReadRequest[],
): Promise<Page<StoredMessage>[]> {
  link.assertOpen();
  let over = false;
  try {
    return await link.withDeadline(what, () =>
      Promise.all(requests.map((request) => reader.readWithRetry(request, () => over))),
    );
  } finally {
    over = true;
  }
}

/** Why there is a hole between `since` and `page`, if there is one. */
function findBreak(since: Position | undefined, page: Page<StoredMessage>): UnrecoverableReason | undefined {
  for (const step of mergeIntoChain(since, page, []).steps) if (step.type === 'break') return step.reason;
  return undefined;
}

/** The messages of a page. What cannot be decoded goes to `onError` and is left out. */
function decodeMessages<T>(
  { audience }: HistoryContext,
  { name, kind, codec }: Pick<ResolvedChannel, 'name' | 'kind' | 'codec'>,
  stored: readonly StoredMessage[],
): HistoryMessage<T>[] {
  const messages: HistoryMessage<T>[] = [];
  const where = { channel: audience.stripPrefix(kind, name) };
  for (const { position, payload } of stored) {
    const message = decodePayload(codec, payload, audience, where);
    if (message === DECODE_FAILED) continue;
    messages.push({ message: message as T, position, publishedAt: toPublishedDate(position), raw: payload });
  }
  return messages;
}

/** When the message at `position` was published. */
function toPublishedDate(position: Position): Date {
  return new Date(positionTime(position) / 1_000);
}

/** The last position of a page. */
function lastPositionOf(page: Page<StoredMessage>): Position {
  return page.messages.at(-1)?.position ?? page.last;
}
