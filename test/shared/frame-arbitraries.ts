import { type Arbitrary, fc } from '../support/property.js';

/** Names, numbers and texts that often cause errors. */
const odd = fc.constantFrom<unknown>(
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  '',
  '*',
  '{x}',
  '\ud800',
  'a\0b',
  'x'.repeat(600),
  '0-0',
  '1-1',
  '$typing',
  '9'.repeat(30),
  -1,
  0,
  1.5,
  2 ** 53,
  1e308,
  1_000,
  true,
  null,
  [],
  {},
  ['a', 'b'],
);
const value = fc.oneof({ weight: 3, arbitrary: odd }, fc.jsonValue(), fc.string({ unit: 'binary' }));

const type = fc.constantFrom(
  ...[
    'join',
    'update',
    'leave',
    'send',
    'typing',
    'status',
    'watch',
    'unwatch',
    'history',
    'request',
    'ping',
  ],
  ...['welcome', '__proto__', 'constructor', 'nonsense'],
);
const members = [
  ...['id', 'room', 'event', 'data', 'info', 'since', 'last', 'members', 'key', 'echo', 'keep', 'on'],
  ...['status', 'users', 'before', 'limit', 'method', '__proto__', 'constructor', 'toJSON', 'then'],
];

/** A frame of a known type, with anything in its members. */
const wrong = fc
  .tuple(type, fc.array(fc.tuple(fc.constantFrom(...members), value), { maxLength: 8 }))
  .map(([name, given]) => {
    // By hand, for an object literal would take "__proto__" for something else.
    const parts = given.map(([key, each]) => `${JSON.stringify(key)}:${JSON.stringify(each) ?? 'null'}`);
    return `{${[`"type":${JSON.stringify(name)}`, ...parts].join(',')}}`;
  });

/** A frame that is right, but for one thing perhaps. */
const nearly = fc
  .record(
    {
      type,
      id: fc.integer({ min: 1, max: 50 }),
      room: fc.constantFrom<unknown>('lobby', 'den', '__proto__', 7),
      event: fc.constantFrom<unknown>('said', '__proto__', ''),
      data: fc.jsonValue({ maxDepth: 5 }),
      info: fc.jsonValue(),
      last: fc.constantFrom<unknown>(0, 3, 'x'),
      members: fc.boolean(),
      on: fc.boolean(),
      status: fc.constantFrom('busy', 'offline'),
      users: fc.constantFrom<unknown>(['ann'], [7], 'ann'),
      limit: fc.constantFrom<unknown>(1, 2, 0),
      method: fc.constantFrom<unknown>('echo', 'toString'),
      key: fc.constantFrom<unknown>('k', ''),
    },
    { requiredKeys: ['type'] },
  )
  .map((frame) => JSON.stringify(frame));

/** Deep, and perhaps not even closed; no longer than a frame may be. */
const deep = fc
  .tuple(fc.integer({ min: 1, max: 9_000 }), fc.constantFrom('[', '{"a":'), fc.boolean())
  .map(([depth, open, closed]) => {
    const inner = closed ? `1${(open === '[' ? ']' : '}').repeat(depth)}` : '';
    return `{"type":"send","room":"lobby","event":"said","data":${open.repeat(depth)}${inner}}`;
  });

/** Whatever a client may send as text. */
export const anyFrame: Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: nearly },
  { weight: 4, arbitrary: wrong },
  { weight: 1, arbitrary: deep },
  { weight: 1, arbitrary: fc.jsonValue().map((json) => JSON.stringify(json)) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
);
