import type { HistoryReader, ReadRequest, StoredMessage } from '../history/history-reader.js';
import { mergeIntoChain, type Page, type UnrecoverableReason } from '../history/merge-into-chain.js';
import { assertPosition, type Position, positionTime } from '../history/position.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertOptions, numberOption } from '../internal/validate.js';
import type { ClientHandle } from '../redis/client-handle.js';
import { type ChannelLike, channelNameOf, type ResolvedChannel } from './channel.js';
import { RECOVER_REQUEST_NAMES } from './option-names.js';
import type {
  ChannelRecoverResult,
  HistoryMessage,
  HistoryPage,
  HistoryReadOptions,
  RecoverRequest,
  RecoverResult,
} from './options.js';
import { DECODE_FAILED, type ServiceContext } from './service-context.js';

export interface HistoryContext {
  readonly handle: ClientHandle;
  readonly reader: HistoryReader;
  readonly service: ServiceContext;
  /** In bytes; applies from the second message on. */
  readonly maxBytes: number;
}

export interface RecoverTarget {
  readonly channel: ResolvedChannel;
  readonly since: Position;
}

export interface LastMessages<T> {
  /** Oldest first. */
  readonly messages: HistoryMessage<T>[];
  /** Continue from here. */
  readonly end: Position;
  /** Only for messages larger than `maxBytes`, which are not in `messages`: they begin here. */
  readonly start?: Position | 'earliest';
}

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1_000;

function limitOption(limit: unknown): number {
  return numberOption('limit', limit, DEFAULT_LIMIT, { min: 1, max: MAX_LIMIT, integer: true });
}

export async function readHistory<T>(
  context: HistoryContext,
  channel: ResolvedChannel,
  { since, before, limit, reverse = false }: HistoryReadOptions,
): Promise<HistoryPage<T>> {
  if (since !== undefined) assertPosition('since', since);
  if (before !== undefined) assertPosition('before', before);
  const request = createRequest(context, channel, limitOption(limit), since);
  const pages = await readPages(context, 'history', [{ ...request, before, reverse }]);
  const page = pages[0] as Page<StoredMessage>;
  // Only a page that reads forward to the chain's end can reveal a missing message.
  const reason = reverse || before !== undefined ? undefined : findBreak(since, page);
  return {
    messages: decodeMessages<T>(context, channel, page.messages),
    position: lastPositionOf(page),
    more: page.more,
    complete: reason === undefined,
    ...(reason === undefined ? {} : { reason }),
  };
}

/**
 * `count` is at least 1; large messages take several pages. If the messages are larger than `maxBytes`, only their
 * beginning is returned, so that memory stays bounded.
 */
export async function readLastMessages<T>(
  pubsub: {
    history<T>(channel: ChannelLike<never, T>, options?: HistoryReadOptions): Promise<HistoryPage<T>>;
  },
  channel: ChannelLike<never, T>,
  count: number,
  maxBytes: number,
): Promise<LastMessages<T>> {
  const messages: HistoryMessage<T>[] = [];
  let end: Position | undefined;
  let found = 0;
  let bytes = 0;
  let page: HistoryPage<T> | undefined;
  do {
    // Of large messages, the one before is wanted, too.
    const limit = Math.min(count - found + (bytes > maxBytes ? 1 : 0), MAX_LIMIT);
    const options = { reverse: true, limit };
    page = await pubsub.history(
      channel,
      page === undefined ? options : { ...options, before: page.position },
    );
    end ??= page.messages[0]?.position ?? page.position;
    for (const message of page.messages) {
      if (found++ === count) return { messages: [], end, start: message.position };
      bytes += message.raw.length;
      if (bytes > maxBytes) messages.length = 0;
      else messages.push(message);
    }
  } while (page.more && page.messages.length > 0 && (found < count || bytes > maxBytes));
  return bytes > maxBytes ? { messages: [], end, start: 'earliest' } : { messages: messages.reverse(), end };
}

/**
 * Validates the argument of `recover`.
 *
 * @throws {@link InvalidArgumentError} with the invalid field.
 */
export function parseRecoverRequest(
  request: RecoverRequest,
  resolve: (channel: unknown) => ResolvedChannel,
): { readonly targets: readonly RecoverTarget[]; readonly limit: number } {
  if (request === undefined) throw new InvalidArgumentError('request', 'is missing');
  assertOptions('request', request, RECOVER_REQUEST_NAMES);
  const limit = limitOption(request.limit);
  const targets = toEntries(request.channels).map(([given, since]) => {
    const channel = resolve(given);
    assertPosition(`channels[${JSON.stringify(channelNameOf(given))}]`, since);
    return { channel, since };
  });
  return { targets, limit };
}

function toEntries(channels: unknown): [channel: unknown, since: Position][] {
  if (typeof channels !== 'object' || channels === null) {
    throw new InvalidArgumentError(
      'channels',
      'must be an object of positions by channel name, or an iterable of [channel, position] pairs',
    );
  }
  const pairs = Symbol.iterator in channels ? [...(channels as Iterable<unknown>)] : Object.entries(channels);
  if (!pairs.every((pair) => Array.isArray(pair))) {
    throw new InvalidArgumentError(
      'channels',
      'must be an object of positions by channel name, or an iterable of [channel, position] pairs',
    );
  }
  return pairs as [unknown, Position][];
}

export async function recoverChannels<T>(
  context: HistoryContext,
  targets: readonly RecoverTarget[],
  limit: number,
): Promise<RecoverResult<T>> {
  const requests = targets.map(({ channel, since }) => createRequest(context, channel, limit, since));
  const pages = await readPages(context, 'recover', requests);
  const channels = new Map<string, ChannelRecoverResult<T>>();
  const unrecovered: string[] = [];
  targets.forEach(({ channel, since }, at) => {
    const page = pages[at] as Page<StoredMessage>;
    const name = context.service.stripPrefix(channel.kind, channel.name);
    const reason = findBreak(since, page) ?? (page.more ? 'limit' : undefined);
    if (reason !== undefined) unrecovered.push(name);
    channels.set(name, {
      messages: decodeMessages<T>(context, channel, page.messages),
      position: lastPositionOf(page),
      recovered: reason === undefined,
      ...(reason === undefined ? {} : { reason }),
    });
  });
  return { channels, unrecovered };
}

function createRequest(
  { maxBytes }: HistoryContext,
  { name, codec }: ResolvedChannel,
  limit: number,
  after: Position | undefined,
): ReadRequest {
  return { channel: name, after, limit, binary: codec.binary === true, maxBytes };
}

/** Batched, within the deadline. */
async function readPages(
  { handle, reader }: HistoryContext,
  what: string,
  requests: readonly ReadRequest[],
): Promise<Page<StoredMessage>[]> {
  handle.assertOpen();
  let abandoned = false;
  try {
    return await handle.withDeadline(what, () =>
      Promise.all(requests.map((request) => reader.readWithRetry(request, () => abandoned))),
    );
  } finally {
    abandoned = true;
  }
}

/** Undefined if no message is missing. */
function findBreak(since: Position | undefined, page: Page<StoredMessage>): UnrecoverableReason | undefined {
  for (const step of mergeIntoChain(since, page, []).steps) if (step.type === 'break') return step.reason;
  return undefined;
}

/** Messages that cannot be decoded are reported to `onError` and left out. */
function decodeMessages<T>(
  { service }: HistoryContext,
  { name, kind, codec }: Pick<ResolvedChannel, 'name' | 'kind' | 'codec'>,
  stored: readonly StoredMessage[],
): HistoryMessage<T>[] {
  const messages: HistoryMessage<T>[] = [];
  const origin = { channel: service.stripPrefix(kind, name) };
  for (const { position, payload } of stored) {
    const message = service.decode(codec, payload, origin);
    if (message === DECODE_FAILED) continue;
    const publishedAt = new Date(positionTime(position) / 1_000);
    messages.push({ message: message as T, position, publishedAt, raw: payload });
  }
  return messages;
}

function lastPositionOf(page: Page<StoredMessage>): Position {
  return page.messages.at(-1)?.position ?? page.last;
}
