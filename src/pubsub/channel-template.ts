import { InvalidArgumentError } from '../internal/errors.js';
import { assertName, MAX_NAME_BYTES } from '../internal/validate.js';
import { escapePattern } from '../redis/pattern.js';

/** An id for each placeholder. */
export type Params = { readonly [name: string]: string };

/**
 * A template such as `room:{roomId}`, and the names of channels it stands for. Building and
 * parsing are exact inverses of each other: no two sets of params share a name, and a name has one spelling.
 */
export class ChannelTemplate {
  /** The text around the placeholders: always one more than there are placeholders. */
  readonly #literals: readonly string[];
  readonly #names: readonly string[];
  readonly #pattern: RegExp;

  constructor(template: unknown) {
    const { literals, names } = parseTemplate(template);
    this.#literals = literals;
    this.#names = names;
    this.#pattern = new RegExp(`^${literals.map(escapeRegExp).join(`(${ENCODED_ID}+)`)}$`, 'u');
  }

  /** The name of the channel with these params. */
  build(params: Params): string {
    this.#assertParams(params);
    const name = this.#render(
      (literal) => literal,
      (param) => encodeParam(param, ownParam(params, param)),
    );
    this.#assertLength(name, params);
    return name;
  }

  /** The params that {@link build} makes `name` of, or `undefined` when it makes that of none. */
  parse(name: unknown): Params | undefined {
    if (typeof name !== 'string' || Buffer.byteLength(name) > MAX_NAME_BYTES) return undefined;
    const ids = this.#pattern.exec(name)?.slice(1).map(decodeId);
    if (ids === undefined || ids.includes(undefined)) return undefined;
    // Unlike assignment, this makes a property of `__proto__` too.
    return Object.fromEntries(this.#names.map((param, at) => [param, ids[at] as string]));
  }

  /** A pattern that matches every channel with these params. */
  pattern(params: Partial<Params>): string {
    this.#assertParams(params);
    return this.#render(escapePattern, (param) => {
      const id = ownParam(params, param);
      return id === undefined ? '*' : escapePattern(encodeParam(param, id));
    });
  }

  #render(ofLiteral: (literal: string) => string, ofParam: (param: string) => string): string {
    return this.#literals
      .map((literal, at) => {
        const param = this.#names[at];
        return ofLiteral(literal) + (param === undefined ? '' : ofParam(param));
      })
      .join('');
  }

  #assertParams(params: unknown): void {
    if (typeof params !== 'object' || params === null) {
      throw new InvalidArgumentError('params', 'must be an object');
    }
    for (const param of Object.keys(params)) {
      if (!this.#names.includes(param)) throw new InvalidArgumentError(param, 'is no param of this channel');
    }
  }

  /** A long name is blamed on its longest id. */
  #assertLength(name: string, params: Params): void {
    const bytes = Buffer.byteLength(name);
    if (bytes <= MAX_NAME_BYTES) return;
    const size = (param: string) => Buffer.byteLength(params[param] as string);
    const longest = this.#names.reduce((one, two) => (size(two) > size(one) ? two : one));
    throw new InvalidArgumentError(
      longest,
      `makes the channel's name ${bytes} bytes long; at most ${MAX_NAME_BYTES} are allowed`,
    );
  }
}

const PLACEHOLDER = /\{([A-Za-z_$][A-Za-z0-9_$]*)\}/;

/** What encoded ids never contain, so that it shows where one of them ends. */
const SEPARATOR = /[^A-Za-z0-9_\-%\u0080-\uffff]/;

function parseTemplate(template: unknown): { literals: string[]; names: string[] } {
  assertName('template', template);
  const bad = (why: string) => new InvalidArgumentError('template', `${JSON.stringify(template)} ${why}`);
  // `split` puts what the group matched between the pieces.
  const pieces = template.split(PLACEHOLDER);
  const literals = pieces.filter((_, at) => at % 2 === 0);
  const names = pieces.filter((_, at) => at % 2 === 1);
  if (literals.some((literal) => /[{}]/.test(literal))) {
    throw bad('has a brace that is no part of a placeholder such as {roomId}');
  }
  if (new Set(names).size < names.length) throw bad('has the same placeholder twice');
  // `room:{id}_typing` would share its names with `room:{id}`, whose ids may end in "_typing".
  const apart = literals.every((literal, at) => {
    const begins = at === 0 || SEPARATOR.test(literal.charAt(0)) || (literal === '' && at === names.length);
    const ends = at === names.length || SEPARATOR.test(literal.at(-1) ?? '') || (literal === '' && at === 0);
    return begins && ends;
  });
  if (!apart) throw bad('needs a character such as ":" between a placeholder and what is next to it');
  return { literals, names };
}

/** Own properties only: `constructor` is on every object. */
function ownParam(params: Partial<Params>, param: string): string | undefined {
  return Object.hasOwn(params, param) ? params[param] : undefined;
}

/** One character of an id in a channel's name. */
const ENCODED_ID = '(?:[A-Za-z0-9_\\-\\u{80}-\\u{10ffff}]|%[0-7][0-9A-F])';

function encodeParam(param: string, id: unknown): string {
  if (id === undefined) throw new InvalidArgumentError(param, 'is missing');
  assertName(param, id);
  return encodeId(id);
}

/** `id` with every ASCII character that could mean something in a name, a pattern or a URL as `%XX`. */
function encodeId(id: string): string {
  // What is left of ASCII has one byte in UTF-8, and so one code.
  return id.replace(/[^A-Za-z0-9_\-\u0080-\uffff]/g, (char) => {
    return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
  });
}

/** The id that {@link encodeId} makes `text` of, or `undefined` when it makes that of none. */
function decodeId(text: string): string | undefined {
  const id = text.replace(/%(..)/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
  // Letters have codes too, but encodeId does not use those; and UTF-8 has no lone surrogates.
  return encodeId(id) === text && !/\p{Surrogate}/u.test(id) ? id : undefined;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}
