import { InvalidArgumentError } from '../internal/errors.js';
import { assertName, MAX_NAME_BYTES } from '../internal/validate.js';
import { escapePattern } from '../redis/pattern.js';

export type Params = { readonly [name: string]: string };

/** `build` and `parse` are exact inverses: each name has one spelling and one set of params. */
export class ChannelTemplate {
  /** One more than there are placeholders. */
  readonly #literals: readonly string[];
  readonly #names: readonly string[];
  readonly #pattern: RegExp;

  constructor(template: unknown) {
    const { literals, names } = parseTemplate(template);
    this.#literals = literals;
    this.#names = names;
    this.#pattern = new RegExp(`^${literals.map(escapeRegExp).join(`(${ENCODED_ID}+)`)}$`, 'u');
  }

  build(params: Params): string {
    this.#assertParams(params);
    const name = this.#render(
      (literal) => literal,
      (param) => encodeParam(param, ownParam(params, param)),
    );
    this.#assertLength(name, params);
    return name;
  }

  /** `undefined` if {@link build} never returns `name`. */
  parse(name: unknown): Params | undefined {
    if (typeof name !== 'string' || Buffer.byteLength(name) > MAX_NAME_BYTES) return undefined;
    const ids = this.#pattern.exec(name)?.slice(1).map(decodeId);
    if (ids === undefined || ids.includes(undefined)) return undefined;
    // Unlike an assignment, this also creates a property named `__proto__`.
    return Object.fromEntries(this.#names.map((param, at) => [param, ids[at] as string]));
  }

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
      if (!this.#names.includes(param))
        throw new InvalidArgumentError(param, 'is not a param of this channel');
    }
  }

  /** The error names the longest param. */
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

/** Never in encoded params, so it marks their ends. */
const SEPARATOR = /[^A-Za-z0-9_\-%\u0080-\uffff]/;

function parseTemplate(template: unknown): { literals: string[]; names: string[] } {
  assertName('template', template);
  const bad = (why: string) => new InvalidArgumentError('template', `${JSON.stringify(template)} ${why}`);
  // `split` puts the text of the group between the pieces.
  const pieces = template.split(PLACEHOLDER);
  const literals = pieces.filter((_, at) => at % 2 === 0);
  const names = pieces.filter((_, at) => at % 2 === 1);
  if (literals.some((literal) => /[{}]/.test(literal))) {
    throw bad('has a brace outside a placeholder such as {roomId}');
  }
  if (new Set(names).size < names.length) throw bad('has the same placeholder twice');
  // `room:{id}_typing` would share names with `room:{id}`, whose ids may end in "_typing".
  const apart = literals.every((literal, at) => {
    const begins = at === 0 || SEPARATOR.test(literal.charAt(0)) || (literal === '' && at === names.length);
    const ends = at === names.length || SEPARATOR.test(literal.at(-1) ?? '') || (literal === '' && at === 0);
    return begins && ends;
  });
  if (!apart) throw bad('needs a character such as ":" between a placeholder and what is next to it');
  return { literals, names };
}

/** Every object inherits `constructor`. */
function ownParam(params: Partial<Params>, param: string): string | undefined {
  return Object.hasOwn(params, param) ? params[param] : undefined;
}

/** One character. */
const ENCODED_ID = '(?:[A-Za-z0-9_\\-\\u{80}-\\u{10ffff}]|%[0-7][0-9A-F])';

function encodeParam(param: string, id: unknown): string {
  if (id === undefined) throw new InvalidArgumentError(param, 'is missing');
  assertName(param, id);
  return encodeId(id);
}

/** Percent-encodes every ASCII character that has a meaning in a name, a pattern or a URL. */
function encodeId(id: string): string {
  // Each replaced character is one byte in UTF-8.
  return id.replace(/[^A-Za-z0-9_\-\u0080-\uffff]/g, (char) => {
    return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
  });
}

/** `undefined` for a text that {@link encodeId} never returns. */
function decodeId(text: string): string | undefined {
  const id = text.replace(/%(..)/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
  // `%41` is a spelling of "A" that encodeId does not use; lone surrogates do not exist in UTF-8.
  return encodeId(id) === text && !/\p{Surrogate}/u.test(id) ? id : undefined;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}
