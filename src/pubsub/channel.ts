import type { HistoryOptions } from '../history/append.js';
import { sharesSlot } from '../history/keys.js';
import { resolveHistoryOptions } from '../history/options.js';
import type { Codec } from '../internal/codec.js';
import { InvalidArgumentError, UnsupportedError } from '../internal/errors.js';
import { assertName } from '../internal/validate.js';
import type { Capabilities, SubscriptionKind } from '../redis/driver.js';
import type { ChannelRef } from './channel-definition.js';
import { type StandardSchema, validate } from './schema.js';

/** A channel, by its name or of a definition. */
export type ChannelLike<Input = unknown, Output = Input> = string | ChannelRef<Input, Output>;

/** A channel as a service uses it. */
export interface ResolvedChannel {
  /** As Redis knows it. */
  readonly name: string;
  readonly kind: Exclude<SubscriptionKind, 'pattern'>;
  /** Reads messages; checks them as well, where the definition wants that. */
  readonly codec: Codec;
  /** Makes of a message what is sent. */
  readonly validate: ((message: unknown) => unknown) | undefined;
  readonly history: Required<HistoryOptions> | undefined;
}

/** What a service brings to all its channels. */
export interface ChannelDefaults {
  readonly prefix: string;
  readonly codec: Codec;
  readonly client: string;
  readonly capabilities: Capabilities;
}

/** What a call says of a channel beside its name. */
export interface ChannelOverrides {
  readonly sharded?: boolean | undefined;
  readonly history?: HistoryOptions | undefined;
}

/**
 * The channel that a caller means.
 *
 * @throws {@link InvalidArgumentError} for a bad name or history, or a call that contradicts the
 * definition; {@link UnsupportedError} for what the client or the server cannot do.
 */
export function resolveChannel(
  given: unknown,
  call: ChannelOverrides,
  defaults: ChannelDefaults,
): ResolvedChannel {
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
    throw new InvalidArgumentError('channel', 'must be a string, or come from defineChannel');
  }
  if (call.sharded !== undefined && call.sharded !== definition.sharded) {
    throw new InvalidArgumentError('sharded', 'contradicts the definition of the channel');
  }
  if (call.history !== undefined) {
    throw new InvalidArgumentError('history', 'is for the definition of the channel to say');
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
    throw new UnsupportedError(`${client} has no sharded channels`);
  }
  if (history === undefined) return channel;
  if (codec.binary === true && !capabilities.binaryScripts) {
    throw new UnsupportedError(`${client} cannot keep a history of binary messages`);
  }
  if (kind === 'sharded' && capabilities.cluster && !sharesSlot(name)) {
    throw new UnsupportedError(
      `a sharded channel with a "}" outside a hash tag has no history on a Cluster: ${JSON.stringify(name)}`,
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

/** `codec`, with what it reads checked by `schema`. One for each pair: handlers share what it reads. */
function createValidatingCodec(codec: Codec, schema: StandardSchema): Codec {
  let bySchema = validatingCodecs.get(codec);
  if (bySchema === undefined) {
    bySchema = new WeakMap();
    validatingCodecs.set(codec, bySchema);
  }
  let known = bySchema.get(schema);
  if (known === undefined) {
    const decode = codec.decode as (payload: string | Buffer) => unknown;
    known = {
      binary: codec.binary,
      encode: (message: unknown) => codec.encode(message),
      decode: (payload: string | Buffer) => {
        const message = validate(schema, decode.call(codec, payload));
        if (!(message instanceof Promise)) return message;
        message.catch(() => {});
        // Handlers are called in the order of the messages, and nobody waits in between.
        throw new UnsupportedError('asynchronous schemas cannot check what is received');
      },
    } as Codec;
    bySchema.set(schema, known);
  }
  return known;
}
