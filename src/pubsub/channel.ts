import type { HistoryOptions } from '../history/append.js';
import { escapePayload, wrapTransient } from '../history/envelope.js';
import { sharesSlot } from '../history/keys.js';
import { resolveHistoryOptions } from '../history/options.js';
import type { Codec } from '../internal/codec.js';
import { messageOf } from '../internal/diagnostics.js';
import { InvalidArgumentError, UnsupportedError } from '../internal/errors.js';
import { assertName } from '../internal/validate.js';
import type { Capabilities, Payload, SubscriptionKind } from '../redis/driver.js';
import type { ChannelRef } from './channel-definition.js';
import { type StandardSchema, validate } from './schema.js';

/** A channel: its name, or a channel of a definition. */
export type ChannelLike<Input = unknown, Output = Input> = string | ChannelRef<Input, Output>;

export function channelNameOf(given: unknown): string {
  return typeof given === 'object' && given !== null ? (given as ChannelRef).name : (given as string);
}

/**
 * Each channel or pattern once.
 *
 * @throws {@link InvalidArgumentError} for an invalid name, none, or one name with two definitions.
 */
export function toChannelList(
  argument: 'channel' | 'pattern',
  given: ChannelLike | readonly ChannelLike[],
): readonly ChannelLike[] {
  const all = Array.isArray(given) ? (given as readonly ChannelLike[]) : [given as ChannelLike];
  if (all.length === 0) throw new InvalidArgumentError(argument, 'must not be an empty list');
  const byName = new Map<string, ChannelLike>();
  for (const each of all) {
    const name = channelNameOf(each);
    assertName(argument, name);
    const known = byName.get(name) ?? each;
    if (definitionOf(known) !== definitionOf(each)) {
      throw new InvalidArgumentError(argument, `is given twice, with different definitions: ${name}`);
    }
    byName.set(name, known);
  }
  return [...byName.values()];
}

function definitionOf(given: ChannelLike): unknown {
  return typeof given === 'string' ? undefined : given.definition;
}

/** With the defaults of service and definition. */
export interface ResolvedChannel {
  /** With prefix. */
  readonly name: string;
  readonly kind: Exclude<SubscriptionKind, 'pattern'>;
  /** Also validates under `validate: 'both'`. */
  readonly codec: Codec;
  /** Returns the value to encode, or a promise of it. */
  readonly validate: ((message: unknown) => unknown) | undefined;
  readonly history: Required<HistoryOptions> | undefined;
}

export interface ChannelDefaults {
  readonly prefix: string;
  readonly codec: Codec;
  readonly client: string;
  readonly capabilities: Capabilities;
}

export interface ChannelOverrides {
  readonly sharded?: boolean | undefined;
  readonly history?: HistoryOptions | undefined;
}

/**
 * Resolves a channel name or reference.
 *
 * @throws {@link InvalidArgumentError} for an invalid name or history, or a call that contradicts the
 * definition; {@link UnsupportedError} for what the client or the server does not support.
 */
export function resolveChannel(
  given: unknown,
  call: ChannelOverrides,
  defaults: ChannelDefaults,
): ResolvedChannel {
  if (typeof given === 'function') {
    throw new InvalidArgumentError(
      'channel',
      'is a function: a definition is called with its params, as in room({ id }); the channel comes before the handler',
    );
  }
  if (Array.isArray(given)) {
    throw new InvalidArgumentError('channel', 'must be one channel, not an array: make one call for each');
  }
  if (typeof given !== 'object' || given === null) {
    assertName('channel', given);
    const history = call.history === undefined ? undefined : resolveHistoryOptions(call.history);
    const kind = call.sharded === true ? 'sharded' : 'channel';
    return assertSupported(
      { name: defaults.prefix + given, kind, codec: defaults.codec, validate: undefined, history },
      defaults,
    );
  }
  const { name, definition } = given as Partial<ChannelRef>;
  assertName('channel', name);
  if (typeof (definition as unknown) !== 'function' || definition === undefined) {
    throw new InvalidArgumentError(
      'channel',
      'must be a string, or a channel of a definition by defineChannel',
    );
  }
  if (call.sharded !== undefined && call.sharded !== definition.sharded) {
    throw new InvalidArgumentError(
      'sharded',
      'contradicts the definition of the channel; leave it out of the call',
    );
  }
  if (call.history !== undefined) {
    throw new InvalidArgumentError(
      'history',
      'must be set in the definition of the channel, not in the call',
    );
  }
  const { schema, history } = definition;
  const codec = definition.codec ?? defaults.codec;
  return assertSupported(
    {
      name: defaults.prefix + name,
      kind: definition.sharded ? 'sharded' : 'channel',
      codec:
        schema !== undefined && definition.validate === 'both' ? createValidatingCodec(codec, schema) : codec,
      validate: schema && createPublishValidator(schema, definition.validate),
      history,
    },
    defaults,
  );
}

function assertSupported(
  channel: ResolvedChannel,
  { client, capabilities }: ChannelDefaults,
): ResolvedChannel {
  const { kind, codec, history, name } = channel;
  if (kind === 'sharded' && !capabilities.sharded) {
    throw new UnsupportedError(`${client} does not support sharded channels`);
  }
  if (history === undefined) return channel;
  if (codec.binary === true && !capabilities.binaryScripts) {
    throw new UnsupportedError(`${client} does not support a history of binary messages`);
  }
  if (kind === 'sharded' && capabilities.cluster && !sharesSlot(name)) {
    throw new UnsupportedError(
      `on a Cluster, a sharded channel with a "}" outside a hash tag cannot have history: ${JSON.stringify(name)}`,
    );
  }
  return channel;
}

function createPublishValidator(
  schema: StandardSchema,
  mode: 'publish' | 'both',
): (message: unknown) => unknown {
  return (message) => {
    const output = validate(schema, message);
    if (mode === 'publish') return output;
    return output instanceof Promise ? output.then(() => message) : message;
  };
}

const validatingCodecs = new WeakMap<Codec, WeakMap<StandardSchema, Codec>>();

/** One object per pair, because decoded messages are shared by codec. */
function createValidatingCodec(codec: Codec, schema: StandardSchema): Codec {
  let bySchema = validatingCodecs.get(codec);
  if (bySchema === undefined) {
    bySchema = new WeakMap();
    validatingCodecs.set(codec, bySchema);
  }
  let validating = bySchema.get(schema);
  if (validating === undefined) {
    const decode = codec.decode as (payload: string | Buffer) => unknown;
    validating = {
      binary: codec.binary,
      encode: (message: unknown) => codec.encode(message),
      decode: (payload: string | Buffer) => {
        const message = validate(schema, decode.call(codec, payload));
        if (!(message instanceof Promise)) return message;
        message.catch(() => {});
        // Waiting would change the order of messages.
        throw new UnsupportedError('an asynchronous schema cannot validate received messages');
      },
    } as Codec;
    bySchema.set(schema, validating);
  }
  return validating;
}

export interface EncodeOptions {
  readonly maxBytes: number;
  readonly transient: boolean;
  /** Of the publisher. */
  readonly databaseSuffix: string;
}

/**
 * Validates and encodes a message. Returns a promise only if the channel's schema is asynchronous.
 *
 * @throws {@link InvalidArgumentError} if the codec fails or the result is longer than `maxBytes` in UTF-8;
 * {@link SchemaError} if the schema rejects the message.
 */
export function toPayload(
  { validate, codec, history }: ResolvedChannel,
  message: unknown,
  { maxBytes, transient, databaseSuffix }: EncodeOptions,
): Payload | Promise<Payload> {
  const encodeValue = (value: unknown): Payload => {
    const payload = encode(value, codec, maxBytes);
    // The script that appends to a history writes the header.
    if (history !== undefined) return payload;
    return transient ? wrapTransient(payload, databaseSuffix) : escapePayload(payload);
  };
  if (validate === undefined) return encodeValue(message);
  const validated = validate(message);
  if (!(validated instanceof Promise)) return encodeValue(validated);
  // Encoded at once, because the caller may change the object before an asynchronous schema is done.
  let encoded: Payload | undefined;
  let failure: unknown;
  try {
    encoded = encodeValue(message);
  } catch (error) {
    failure = error;
  }
  return validated.then((value) => {
    if (value !== message) return encodeValue(value);
    if (encoded === undefined) throw failure;
    return encoded;
  });
}

function encode(message: unknown, codec: Codec, maxBytes: number): Payload {
  let payload: unknown;
  try {
    payload = codec.encode(message);
  } catch (cause) {
    if (cause instanceof InvalidArgumentError) throw cause;
    throw new InvalidArgumentError('message', `cannot be encoded: ${messageOf(cause)}`, { cause });
  }
  if (codec.binary === true) {
    if (!(payload instanceof Uint8Array)) {
      throw new InvalidArgumentError(
        'message',
        `must be encoded as bytes by a binary codec, not as ${typeof payload}`,
      );
    }
    assertSize(payload.byteLength, maxBytes);
    const { buffer, byteOffset, byteLength } = payload;
    return Buffer.isBuffer(payload) ? payload : Buffer.from(buffer, byteOffset, byteLength);
  }
  if (typeof payload !== 'string') {
    throw new InvalidArgumentError('message', `must be encoded as a string, not as ${typeof payload}`);
  }
  // A UTF-16 unit takes at most three bytes, so that short payloads need not be measured.
  if (payload.length * 3 > maxBytes) assertSize(Buffer.byteLength(payload), maxBytes);
  return payload;
}

function assertSize(bytes: number, maxBytes: number): void {
  if (bytes <= maxBytes) return;
  throw new InvalidArgumentError('message', `is ${bytes} bytes long; maxMessageBytes is ${maxBytes}`);
}
