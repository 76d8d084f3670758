import type { HistoryOptions } from '../history/append.js';
import { resolveHistoryOptions } from '../history/options.js';
import { assertCodec, type Codec } from '../internal/codec.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertOptions, choiceOption } from '../internal/validate.js';
import { ChannelTemplate, type Params } from './channel-template.js';
import { assertSchema, type InferInput, type InferOutput, type StandardSchema } from './schema.js';

/** The params of a channel template: one string for each `{placeholder}`. */
export type ChannelParams<Template extends string> = string extends Template
  ? { readonly [name: string]: string }
  : { readonly [name in ChannelParamNames<Template>]: string };

/** The names of a channel template's placeholders. */
export type ChannelParamNames<Template extends string> =
  Template extends `${string}{${infer Name}}${infer Rest}` ? Name | ChannelParamNames<Rest> : never;

/** Options of {@link defineChannel}. */
export interface ChannelOptions<Schema extends StandardSchema | undefined = StandardSchema | undefined> {
  /** Checks messages, and gives them their types. Any Standard Schema validator. @default none */
  schema?: Schema;
  /**
   * When the schema is applied. Either way exactly once on the way of a message, so that handlers get the
   * schema's output:
   *
   * - `'publish'`: `publish` sends what the schema makes of the message, and receivers trust it. What the
   *   schema makes must survive the codec: JSON has no Date.
   * - `'both'`: `publish` checks the message and sends it as it is; every receiving process checks it again
   *   and hands over what the schema makes of it. For channels that others publish to, and for
   *   schemas that transform.
   *
   * @default 'publish'
   */
  validate?: 'publish' | 'both';
  /** Keep messages, so that what was missed can be recovered. @default none are kept */
  history?: HistoryOptions;
  /** How messages become payloads. @default the service's codec */
  codec?: Codec;
  /** The channels are sharded ones (Redis 7). @default false */
  sharded?: boolean;
}

/** A definition's options as checked, defaults filled in. */
export interface ResolvedChannelOptions {
  /** The template, as given. */
  readonly template: string;
  /** Checks messages. */
  readonly schema: StandardSchema | undefined;
  /** When the schema is applied. */
  readonly validate: 'publish' | 'both';
  /** What Redis keeps of the messages. */
  readonly history: Required<HistoryOptions> | undefined;
  /** How messages become payloads; `undefined` for the service's codec. */
  readonly codec: Codec | undefined;
  /** Whether the channels are sharded ones. */
  readonly sharded: boolean;
}

/** One channel of a definition: goes wherever a channel's name goes, and knows the type of its messages. */
export interface ChannelRef<Input = unknown, Output = Input> {
  /** The channel's name, without the service's prefix. */
  readonly name: string;
  /** The definition it comes from. */
  readonly definition: ResolvedChannelOptions;
  /** Never set: carries what `publish` takes and what handlers get. */
  readonly types?:
    | {
        /** A function of what `publish` takes: no wider type must do. */
        readonly input: (message: Input) => void;
        /** What handlers get. */
        readonly output: Output;
      }
    | undefined;
}

/** The channels of one template. Call it with the params for one of them. */
export interface ChannelDefinition<Params, Input = unknown, Output = Input> extends ResolvedChannelOptions {
  /**
   * The channel of these params. In its name ASCII letters, digits, `_`, `-` and everything beyond ASCII
   * stand for themselves, all else is percent-encoded: no id can become a pattern, a hash tag or
   * the name of another channel.
   *
   * @throws {@link InvalidArgumentError}, with the param's name in `argument`, when one is missing, unknown,
   * not a string, empty or not well-formed, or makes the name longer than 512 bytes.
   */
  (...params: keyof Params extends never ? [] : [params: Params]): ChannelRef<Input, Output>;
  /**
   * The params of the channel called `name`, or `undefined` when it is none of this definition: also
   * for other spellings of ids than the one this definition writes. Never throws.
   */
  parse(name: string): Params | undefined;
  /**
   * A pattern for `psubscribe`: the channels with these params, whatever the others are. It matches every
   * such channel, but a glob can't keep `*` within one param, so that `room:{id}` also gets
   * the messages of `room:{id}:typing`: leave out those for which `parse(context.channel)` is `undefined`.
   *
   * @throws {@link InvalidArgumentError} for a bad param as above, and for sharded channels,
   * which Redis has no patterns for.
   */
  pattern(params?: Partial<Params>): string;
}

/**
 * Defines channels by a template for their names, the schema of their messages, and what is kept of
 * them. Placeholders are identifiers in braces. What stands beside one must begin or end, on that side,
 * with a character that no escaped id contains: any ASCII one but letters, digits, `_`, `-` and `%`. So
 * no id can reach into the names of another template, unless that spells one out (`room:new`).
 *
 * @example
 * ```ts
 * const room = defineChannel('room:{roomId}', { schema, history: { size: 100, ttl: 60_000 } });
 * room({ roomId: 'a:b' }).name; // 'room:a%3Ab'
 * room.parse('room:a%3Ab'); // { roomId: 'a:b' }
 * room.pattern(); // 'room:*'
 *
 * const news = defineChannel<{ title: string }>()('news'); // a type nobody checks, and no params
 * news().name; // 'news'
 * ```
 *
 * @throws {@link InvalidArgumentError} for a bad template or option.
 */
export function defineChannel<Message>(): <Template extends string>(
  template: Template,
  options?: ChannelOptions<undefined>,
) => ChannelDefinition<ChannelParams<Template>, Message>;
export function defineChannel<Template extends string, Schema extends StandardSchema>(
  template: Template,
  options: ChannelOptions<Schema> & { schema: Schema },
): ChannelDefinition<ChannelParams<Template>, InferInput<Schema>, InferOutput<Schema>>;
export function defineChannel<Template extends string>(
  template: Template,
  options?: ChannelOptions<undefined>,
): ChannelDefinition<ChannelParams<Template>>;
export function defineChannel(...given: [template?: string, options?: ChannelOptions]): unknown {
  return given.length === 0 ? createDefinition : createDefinition(...(given as [string, ChannelOptions?]));
}

function createDefinition(template: string, options: ChannelOptions = {}): ChannelDefinition<Params> {
  const shape = new ChannelTemplate(template);
  const settings = resolveChannelSettings(template, options);
  const channel = (params: Params = {}): ChannelRef =>
    Object.freeze({ name: shape.build(params), definition });
  const definition = Object.freeze(
    Object.assign(channel, settings, {
      parse: (name: string) => shape.parse(name),
      pattern(params: Partial<Params> = {}) {
        if (settings.sharded) {
          throw new InvalidArgumentError('sharded', 'patterns cannot be sharded in Redis');
        }
        return shape.pattern(params);
      },
    }),
  );
  return definition;
}

function resolveChannelSettings(template: string, options: ChannelOptions): ResolvedChannelOptions {
  assertOptions('options', options);
  const { schema, history, codec, sharded = false } = options;
  if (schema !== undefined) assertSchema('schema', schema);
  if (codec !== undefined) assertCodec('codec', codec);
  if (typeof sharded !== 'boolean') throw new InvalidArgumentError('sharded', 'must be true or false');
  if (options.validate !== undefined && schema === undefined) {
    throw new InvalidArgumentError('validate', 'needs a schema');
  }
  const validate = choiceOption('validate', options.validate, 'publish', ['publish', 'both']);
  const kept = history === undefined ? undefined : resolveHistoryOptions(history);
  return { template, schema, validate, history: kept, codec, sharded };
}
