import type { HistoryOptions } from '../history/append.js';
import { resolveHistoryOptions } from '../history/options.js';
import { assertCodec, type Codec } from '../internal/codec.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertOptions, choiceOption, type OptionNames } from '../internal/validate.js';
import { ChannelTemplate, type Params } from './channel-template.js';
import { assertSchema, type InferInput, type InferOutput, type StandardSchema } from './schema.js';

/** The params of a channel template: one string per `{placeholder}`. */
export type ChannelParams<Template extends string> = string extends Template
  ? { readonly [name: string]: string }
  : { readonly [name in ChannelParamNames<Template>]: string };

/** The names of a channel template's placeholders. */
export type ChannelParamNames<Template extends string> =
  Template extends `${string}{${infer Name}}${infer Rest}` ? Name | ChannelParamNames<Rest> : never;

/** Options of {@link defineChannel}. */
export interface ChannelOptions<Schema extends StandardSchema | undefined = StandardSchema | undefined> {
  /** Validates messages and defines their type: any Standard Schema validator. @default none */
  schema?: Schema;
  /**
   * In both cases handlers receive the schema's output, applied once:
   * - `'publish'`: `publish` sends the output, and receivers trust it. The codec must preserve it: JSON has no
   *   Date, for example.
   * - `'both'`: `publish` validates the message and sends it unchanged; each receiving process applies the
   *   schema again. For channels of other programs, and schemas that transform.
   *
   * @default 'publish'
   */
  validate?: 'publish' | 'both';
  /** Keeps messages in Redis, so that missed ones can be recovered. @default no history */
  history?: HistoryOptions;
  /** Encodes and decodes messages. @default the codec of the service */
  codec?: Codec;
  /** The channels are sharded channels (Redis 7). @default false */
  sharded?: boolean;
}

/** Validated, with defaults. */
export interface ResolvedChannelOptions {
  /** The template. */
  readonly template: string;
  /** Validates messages. */
  readonly schema: StandardSchema | undefined;
  /** When the schema is applied. */
  readonly validate: 'publish' | 'both';
  /** `undefined`: no history. */
  readonly history: Required<HistoryOptions> | undefined;
  /** `undefined`: the codec of the service. */
  readonly codec: Codec | undefined;
  /** The channels are sharded channels. */
  readonly sharded: boolean;
}

/** A channel of a definition: accepted wherever a channel name is, and typed with its messages. */
export interface ChannelRef<Input = unknown, Output = Input, History extends boolean = boolean> {
  /** The channel's name, without the service's prefix. */
  readonly name: string;
  /** The definition of the channel. */
  readonly definition: ResolvedChannelOptions;
  /** Never set at run time: carries types. */
  readonly types?:
    | {
        /** A function, so that wider types are rejected. */
        readonly input: (message: Input) => void;
        /** Type of the messages that handlers receive. */
        readonly output: Output;
        /** Every message has a position. */
        readonly history: History;
      }
    | undefined;
}

/** The channels of one template; a call with params returns one of them. */
export interface ChannelDefinition<Params, Input = unknown, Output = Input, History extends boolean = boolean>
  extends ResolvedChannelOptions {
  /**
   * Returns the channel with these params. Its name keeps ASCII letters, digits, `_`, `-` and non-ASCII
   * characters of params; all else is percent-encoded: no param can become a pattern, a hash tag or the name of
   * another channel.
   *
   * @throws {@link InvalidArgumentError}, with the param's name in `argument`, if one is missing, unknown, not
   * a string, empty or not well-formed, or makes the name longer than 512 bytes.
   */
  (...params: keyof Params extends never ? [] : [params: Params]): ChannelRef<Input, Output, History>;
  /**
   * Returns the params of the channel `name`; `undefined` if this definition does not build that name, also for
   * other spellings. Never throws.
   */
  parse(name: string): Params | undefined;
  /**
   * Returns a pattern for `psubscribe`: all channels with these params. A glob cannot limit `*` to one param,
   * so the pattern of `room:{id}` also matches `room:{id}:typing`: ignore messages for which
   * `parse(context.channel)` is `undefined`.
   *
   * @throws {@link InvalidArgumentError} for an invalid param as above, and for sharded channels, for which
   * Redis has no patterns.
   */
  pattern(params?: Partial<Params>): string;
}

/** {@link defineChannel} for a message type without a schema. */
export interface DefineChannelOf<Message> {
  /** Defines channels with a history. */
  <Template extends string>(
    template: Template,
    options: ChannelOptions<undefined> & { history: HistoryOptions },
  ): ChannelDefinition<ChannelParams<Template>, Message, Message, true>;
  /** Defines channels. */
  <Template extends string>(
    template: Template,
    options?: ChannelOptions<undefined>,
  ): ChannelDefinition<ChannelParams<Template>, Message>;
}

/**
 * Defines channels by a template for their names, a schema for their messages, and their history.
 * Placeholders are identifiers in braces. The character before and after a placeholder must be one that
 * encoded params never contain: any ASCII character except letters, digits, `_`, `-` and `%`. So no
 * param can produce a name of another template, unless that template spells it out (`room:new`).
 *
 * @example
 * ```ts
 * const room = defineChannel('room:{roomId}', { schema, history: { size: 100, ttl: 60_000 } });
 * room({ roomId: 'a:b' }).name; // 'room:a%3Ab'
 * room.parse('room:a%3Ab'); // { roomId: 'a:b' }
 * room.pattern(); // 'room:*'
 *
 * const news = defineChannel<{ title: string }>()('news'); // a type without validation, and no params
 * news().name; // 'news'
 * ```
 *
 * @throws {@link InvalidArgumentError} for an invalid template or option.
 */
export function defineChannel<Message>(): DefineChannelOf<Message>;
export function defineChannel<Template extends string, Schema extends StandardSchema>(
  template: Template,
  options: ChannelOptions<Schema> & { schema: Schema; history: HistoryOptions },
): ChannelDefinition<ChannelParams<Template>, InferInput<Schema>, InferOutput<Schema>, true>;
export function defineChannel<Template extends string, Schema extends StandardSchema>(
  template: Template,
  options: ChannelOptions<Schema> & { schema: Schema },
): ChannelDefinition<ChannelParams<Template>, InferInput<Schema>, InferOutput<Schema>>;
export function defineChannel<Template extends string>(
  template: Template,
  options: ChannelOptions<undefined> & { history: HistoryOptions },
): ChannelDefinition<ChannelParams<Template>, unknown, unknown, true>;
export function defineChannel<Template extends string>(
  template: Template,
  options?: ChannelOptions<undefined>,
): ChannelDefinition<ChannelParams<Template>>;
export function defineChannel(...given: [template?: string, options?: ChannelOptions]): unknown {
  return given.length === 0 ? createDefinition : createDefinition(...(given as [string, ChannelOptions?]));
}

function createDefinition(template: string, options: ChannelOptions = {}): ChannelDefinition<Params> {
  const channelTemplate = new ChannelTemplate(template);
  const resolved = resolveChannelSettings(template, options);
  const channel = (params: Params = {}): ChannelRef =>
    Object.freeze({ name: channelTemplate.build(params), definition });
  const definition = Object.freeze(
    Object.assign(channel, resolved, {
      parse: (name: string) => channelTemplate.parse(name),
      pattern(params: Partial<Params> = {}) {
        if (resolved.sharded) {
          throw new InvalidArgumentError('sharded', 'Redis has no patterns for sharded channels');
        }
        return channelTemplate.pattern(params);
      },
    }),
  );
  return definition;
}

const OPTION_NAMES: OptionNames<ChannelOptions> = {
  schema: true,
  validate: true,
  history: true,
  codec: true,
  sharded: true,
};

function resolveChannelSettings(template: string, options: ChannelOptions): ResolvedChannelOptions {
  assertOptions('options', options, OPTION_NAMES);
  const { schema, history, codec, sharded = false } = options;
  if (schema !== undefined) assertSchema('schema', schema);
  if (codec !== undefined) assertCodec('codec', codec);
  if (typeof sharded !== 'boolean') throw new InvalidArgumentError('sharded', 'must be true or false');
  if (options.validate !== undefined && schema === undefined) {
    throw new InvalidArgumentError('validate', 'needs a schema');
  }
  const validate = choiceOption('validate', options.validate, 'publish', ['publish', 'both']);
  return {
    template,
    schema,
    validate,
    history: history === undefined ? undefined : resolveHistoryOptions(history),
    codec,
    sharded,
  };
}
