import { describe, expect, test } from 'vitest';
import { bufferCodec, jsonCodec } from '../../../src/internal/codec.js';
import { InvalidArgumentError } from '../../../src/internal/errors.js';
import { defineChannel } from '../../../src/pubsub/channel-definition.js';
import type { StandardSchema } from '../../../src/pubsub/schema.js';
import { globMatches } from '../../support/fake-glob.js';
import { fc } from '../../support/property.js';

/** The argument named by the error of `act`, or undefined without an error. */
function rejectedArgument(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return (error as InvalidArgumentError).argument;
  }
}

const anything: StandardSchema = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
};

// Short enough for three escaped values in a name, with characters that are special in Redis or templates.
const anyId = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }),
  fc.string({
    unit: fc.constantFrom(...'*?[]^-\\{}%:./ab\n\0_~2A5', 'é', '😀', '%3A', '%2a'),
    minLength: 1,
    maxLength: 8,
  }),
);
const ids = fc.record({ a: anyId, b: anyId });
const pairOf = defineChannel('x:{a}:{b}.y');
const room = defineChannel('room:{roomId}');

describe('names', () => {
  test.each([
    ['abc', 'room:abc'],
    ['A-z_09', 'room:A-z_09'],
    ['a:b', 'room:a%3Ab'],
    ['*?[]\\', 'room:%2A%3F%5B%5D%5C'],
    ['{a}', 'room:%7Ba%7D'],
    ['100%', 'room:100%25'],
    ['a.b/c d', 'room:a%2Eb%2Fc%20d'],
    ['\n\0\u007f', 'room:%0A%00%7F'],
    ['é😀', 'room:é😀'],
    ['%3A', 'room:%253A'],
    ['__proto__', 'room:__proto__'],
  ])('param %j gives the name %j, and parse returns the param', (roomId, name) => {
    expect(room({ roomId }).name).toBe(name);
    expect(room.parse(name)).toEqual({ roomId });
  });

  test('build and parse are inverses for any params', () => {
    fc.assert(
      fc.property(ids, (params) => {
        const { name } = pairOf(params);
        expect(pairOf.parse(name)).toEqual(params);
        expect(pairOf(pairOf.parse(name) as typeof params).name).toBe(name);
      }),
      { numRuns: 2_000 },
    );
  });

  test('parse accepts only the spelling that build returns', () => {
    const text = fc.string({
      unit: fc.constantFrom('%', '2', '5', '3', 'A', 'a', 'F', ':', 'x', '-', 'é'),
      maxLength: 12,
    });
    fc.assert(
      fc.property(text, (tail) => {
        const name = `room:${tail}`;
        const params = room.parse(name);
        if (params !== undefined) expect(room(params).name).toBe(name);
      }),
      { numRuns: 5_000 },
    );
  });

  test('two channels never have one name', () => {
    fc.assert(
      fc.property(ids, ids, (one, two) => {
        const same = one.a === two.a && one.b === two.b;
        expect(pairOf(one).name === pairOf(two).name).toBe(same);
      }),
      { numRuns: 2_000 },
    );
  });

  test('two channels of templates with other separators never have one name', () => {
    const dividers = fc.array(fc.constantFrom(':', '.', '/', '::', ' ', '*', '~x~'), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(dividers, dividers, fc.array(anyId, { minLength: 4, maxLength: 4 }), (one, two, values) => {
        const [first, second] = [one, two].map((all) =>
          defineChannel(all.map((divider, at) => `${divider}{p${at}}`).join('')),
        ) as [ReturnType<typeof defineChannel>, ReturnType<typeof defineChannel>];
        const { name } = first(Object.fromEntries(one.map((_, at) => [`p${at}`, values[at] as string])));
        expect(second.parse(name) !== undefined).toBe(one.join('{}') === two.join('{}'));
      }),
      { numRuns: 1_000 },
    );
  });

  test('no param adds a character to a name that has a meaning in Redis', () => {
    fc.assert(
      fc.property(ids, (params) => {
        const { name } = pairOf(params);
        expect(name).not.toMatch(/[*?[\]\\^{}]/);
        expect(name).not.toMatch(/[\0- \u007f]/);
        expect(name.match(/:/g)).toHaveLength(2);
      }),
      { numRuns: 2_000 },
    );
  });

  test.each([
    '',
    'room',
    'room:',
    'Room:a',
    'room:a:b',
    'xroom:a',
    'room:a\n',
    'room:%3a',
    'room:%41',
    'room:%2D',
    'room:%C3%A9',
    'room:%80',
    'room:%',
    'room:%3',
    'room:%%',
    'room:a b',
    'room:\ud800',
    'room:a\udc00b',
    `room:${'a'.repeat(508)}`,
  ])('parse rejects the name %j', (name) => {
    expect(room.parse(name)).toBeUndefined();
  });

  test('parse accepts any value', () => {
    for (const value of [undefined, null, 1, {}, ['room:a'], Buffer.from('room:a')]) {
      expect(room.parse(value as string)).toBeUndefined();
    }
  });

  test('parsing a hostile name is quick', () => {
    const hostile = defineChannel('{a}:a:{b}:a:{c}:a');
    const names = ['a'.repeat(512), 'a:'.repeat(256), `${'a'.repeat(250)}:${'a'.repeat(250)}`];
    const start = performance.now();
    for (let n = 0; n < 100; n++) for (const name of names) hostile.parse(name);
    expect(performance.now() - start).toBeLessThan(1_000);
  });

  test('literals are matched exactly', () => {
    const odd = defineChannel('a.b*c?[d]^$|(e)+/\\:{id}');
    expect(odd({ id: '1' }).name).toBe('a.b*c?[d]^$|(e)+/\\:1');
    expect(odd.parse('a.b*c?[d]^$|(e)+/\\:1')).toEqual({ id: '1' });
    expect(odd.parse('aXb*c?[d]^$|(e)+/\\:1')).toBeUndefined();
  });
});

describe('params', () => {
  test.each([undefined, null, 1, 1n, true, {}, ['a'], Symbol('s'), '', '\ud800', 'a\udc00'])(
    'an id is a string, not empty and well-formed (%#)',
    (roomId) => {
      expect(rejectedArgument(() => room({ roomId: roomId as string }))).toBe('roomId');
    },
  );

  test('all params are required, and no others are accepted', () => {
    expect(rejectedArgument(() => pairOf({ a: 'x' } as never))).toBe('b');
    expect(rejectedArgument(() => pairOf({ a: 'x', b: 'y', c: 'z' } as never))).toBe('c');
    expect(rejectedArgument(() => room(undefined as never))).toBe('roomId');
    for (const params of [null, 'text', 1])
      expect(rejectedArgument(() => room(params as never))).toBe('params');
  });

  test('only own properties are read, also those named like inherited ones', () => {
    const odd = defineChannel('{__proto__}:{constructor}');
    const params = JSON.parse('{"__proto__": "a", "constructor": "b"}');
    expect(odd(params).name).toBe('a:b');
    const parsed = odd.parse('a:b');
    expect(Object.entries(parsed ?? {})).toEqual(Object.entries(params));
    expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype);
    expect(rejectedArgument(() => odd({} as never))).toBe('__proto__');
    expect(rejectedArgument(() => odd(JSON.parse('{"__proto__": "a"}')))).toBe('constructor');
    expect(rejectedArgument(() => room(Object.create({ roomId: 'a' })))).toBe('roomId');
    expect(odd.pattern()).toBe('*:*');
  });

  test('a name has at most 512 bytes, after encoding', () => {
    expect(room({ roomId: 'a'.repeat(507) }).name).toHaveLength(512);
    expect(rejectedArgument(() => room({ roomId: 'a'.repeat(508) }))).toBe('roomId');
    expect(room({ roomId: ':'.repeat(169) }).name).toHaveLength(512);
    expect(rejectedArgument(() => room({ roomId: ':'.repeat(170) }))).toBe('roomId');
    expect(rejectedArgument(() => pairOf({ a: 'a'.repeat(300), b: 'b'.repeat(301) }))).toBe('b');
    expect(rejectedArgument(() => pairOf({ a: 'a'.repeat(301), b: 'b'.repeat(300) }))).toBe('a');
    const { name } = room({ roomId: 'a'.repeat(507) });
    expect(room.parse(name)).toEqual({ roomId: 'a'.repeat(507) });
  });
});

describe('pattern', () => {
  test.each([
    [{}, 'x:*:*.y'],
    [{ a: 'one' }, 'x:one:*.y'],
    [{ a: 'a-b', b: '*' }, 'x:a\\-b:%2A.y'],
    [{ a: undefined }, 'x:*:*.y'],
  ])('%j: %j', (params, pattern) => {
    expect(pairOf.pattern(params as { a?: string })).toBe(pattern);
  });

  test('matches the channels with these params, and parse rejects the others', () => {
    fc.assert(
      fc.property(ids, ids, fc.boolean(), (one, two, both) => {
        const wanted = both ? one : { a: one.a };
        const { name } = pairOf(two);
        const matches = one.a === two.a && (!both || one.b === two.b);
        expect(globMatches(pairOf.pattern(wanted), pairOf(one).name)).toBe(true);
        expect(globMatches(pairOf.pattern(wanted), name)).toBe(matches);
      }),
      { numRuns: 2_000 },
    );
    expect(globMatches(room.pattern(), 'room:a:typing')).toBe(true);
    expect(room.parse('room:a:typing')).toBeUndefined();
  });

  test('glob characters of the template are escaped', () => {
    const odd = defineChannel('a*[b]?{id}');
    expect(odd.pattern()).toBe('a\\*\\[b\\]\\?*');
    expect(globMatches(odd.pattern(), odd({ id: 'x' }).name)).toBe(true);
    expect(globMatches(odd.pattern(), 'aXbYx')).toBe(false);
  });

  test('invalid params and sharded channels are rejected', () => {
    expect(rejectedArgument(() => pairOf.pattern({ a: '' }))).toBe('a');
    expect(rejectedArgument(() => pairOf.pattern({ c: 'x' } as never))).toBe('c');
    expect(rejectedArgument(() => pairOf.pattern(null as never))).toBe('params');
    expect(rejectedArgument(() => defineChannel('x:{a}', { sharded: true }).pattern())).toBe('sharded');
  });
});

describe('templates', () => {
  test.each([
    '',
    '{',
    '}',
    'a{b',
    'a}b',
    '{}',
    '{ a }',
    '{1a}',
    '{a-b}',
    '{{a}}',
    '{a}}',
    '{a}{b}',
    '{a}x{b}',
    '{a}-{b}',
    '{a}%{b}',
    '{a}é{b}',
    '{a}:{b}_{c}',
    'room:{a}_typing',
    'user-{a}',
    'a{b}',
    '{a}x.y{b}',
    '{a}:{a}',
    'a\ud800',
    'a'.repeat(513),
    undefined,
    null,
    1,
    ['a'],
  ])('template %j is rejected', (template) => {
    expect(rejectedArgument(() => defineChannel(template as string, {}))).toBe('template');
  });

  test.each(['a', ':', '{a}', '{a}:{b}', '{a}.x.{b}', 'a:{b}/c', '{$a_1}', '{a} {A}', 'é:{a}', '*'])(
    '%j is taken',
    (template) => {
      expect(defineChannel(template).template).toBe(template);
    },
  );

  test('without placeholders there is one channel', () => {
    const news = defineChannel('news');
    expect(news().name).toBe('news');
    expect(news.parse('news')).toEqual({});
    expect(news.parse('new')).toBeUndefined();
    expect(news.pattern()).toBe('news');
    expect(rejectedArgument(() => (news as (params: object) => unknown)({ a: 'x' }))).toBe('a');
  });
});

describe('definitions', () => {
  test('options have defaults', () => {
    expect({ ...room }).toMatchObject({
      template: 'room:{roomId}',
      schema: undefined,
      validate: 'publish',
      history: undefined,
      codec: undefined,
      sharded: false,
    });
  });

  test('options are kept', () => {
    const history = { size: 100, ttl: 60_000 };
    const options = {
      schema: anything,
      validate: 'both',
      history,
      codec: bufferCodec,
      sharded: true,
    } as const;
    const given = defineChannel('x', options);
    expect({ ...given }).toMatchObject({ ...options, template: 'x' });
    history.size = 0;
    expect(given.history).toEqual({ size: 100, ttl: 60_000, positionTtl: 7 * 24 * 60 * 60 * 1_000 });
    expect(defineChannel('x', { codec: jsonCodec }).codec).toBe(jsonCodec);
  });

  test('the message type can be named first', () => {
    const named = defineChannel<{ text: string }>()('room:{roomId}', { sharded: true });
    expect(named({ roomId: 'a' }).name).toBe('room:a');
    expect(named.sharded).toBe(true);
  });

  test('a channel and its definition cannot be changed', () => {
    const channel = room({ roomId: 'a' });
    expect(channel.definition).toBe(room);
    expect(Object.keys(channel)).toEqual(['name', 'definition']);
    for (const each of [channel, room, defineChannel('x', { history: { size: 1, ttl: 1 } }).history]) {
      expect(Object.isFrozen(each)).toBe(true);
    }
  });

  test.each([
    ['options', null],
    ['options', 'text'],
    ['schema', { schema: {} }],
    ['schema', { schema: null }],
    ['validate', { schema: anything, validate: 'receive' }],
    ['validate', { validate: 'both' }],
    ['codec', { codec: {} }],
    ['codec', { codec: null }],
    ['sharded', { sharded: 1 }],
    ['history', { history: null }],
    ['history', { history: true }],
    ['history.size', { history: { ttl: 1 } }],
    ['history.size', { history: { size: 0, ttl: 1 } }],
    ['history.size', { history: { size: 1.5, ttl: 1 } }],
    ['history.size', { history: { size: '1', ttl: 1 } }],
    ['history.ttl', { history: { size: 1 } }],
    ['history.ttl', { history: { size: 1, ttl: 0 } }],
    ['history.positionTtl', { history: { size: 1, ttl: 10, positionTtl: 9 } }],
    ['history.ttl', { history: { size: 1, ttl: 0.5 } }],
    ['history.ttl', { history: { size: 1, ttl: Number.POSITIVE_INFINITY } }],
  ])('an error names %s for %j', (argument, options) => {
    expect(rejectedArgument(() => defineChannel('x', options as never))).toBe(argument);
  });
});
