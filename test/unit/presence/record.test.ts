import { describe, expect, test } from 'vitest';
import { DecodeError } from '../../../src/internal/errors.js';
import { escapeId } from '../../../src/presence/ids.js';
import {
  concealsLastSeen,
  decodeChange,
  decodeOwnStatus,
  decodeRecord,
  encodeEntry,
  encodeOwnStatus,
  hiddenUntil,
} from '../../../src/presence/record.js';
import type { OwnStatus } from '../../../src/presence/types.js';
import { fc } from '../../support/property.js';

describe('encodeEntry', () => {
  test.each([
    ['online', 5, undefined, '5'],
    ['busy', 1_700_000_000_000, '{"a":"b"}', 'loyw3v28"busy"{"a":"b"}'],
    ['away', 0, 'null', '0"away"null'],
  ])('%s since %d with meta %s', (status, since, meta, expected) => {
    expect(encodeEntry(status, since, meta)).toBe(expected);
  });

  test('an idle socket has a marker instead of a status', () => {
    expect(encodeEntry('online', 5, undefined, true)).toBe('5"~');
  });
});

describe('own status', () => {
  const words = fc.constantFrom('busy', 'invisible', '-', 'in-call', null);
  const layers = fc.array(
    fc.record({ status: words, until: fc.nat(), meta: fc.option(fc.json(), { nil: undefined }) }),
    { minLength: 1, maxLength: 8 },
  );
  const nest = (of: { status: string | null; until: number; meta: string | undefined }[]) =>
    of.reduceRight<OwnStatus | undefined>(
      (next, { status, until, meta }) => ({
        status,
        ...(until === 0 ? {} : { until: new Date(until) }),
        ...(meta === undefined ? {} : { meta: JSON.parse(JSON.stringify(JSON.parse(meta))) }),
        ...(next === undefined ? {} : { next }),
      }),
      undefined,
    );
  const encode = (of: { status: string | null; until: number; meta: string | undefined }[]) =>
    of
      .map(({ status, until, meta }) =>
        encodeOwnStatus(status, until, meta === undefined ? meta : JSON.stringify(JSON.parse(meta))),
      )
      .join('\t');

  test('is read as it was written, whole with reveal, and without it up to `invisible`', () => {
    fc.assert(
      fc.property(layers, (some) => {
        const text = encode(some);
        expect(decodeOwnStatus(text, true)).toEqual(nest(some));
        const hidden = some.findIndex(({ status }) => status === 'invisible');
        expect(decodeOwnStatus(text, false)).toEqual(nest(hidden < 0 ? some : some.slice(0, hidden)));
      }),
    );
  });

  const marks = fc.record({
    reveal: fc.boolean(),
    hidden: fc.boolean(),
    conceals: fc.boolean(),
    connected: fc.boolean(),
  });

  test('of a record is read with everything else, whatever the text', () => {
    fc.assert(
      fc.property(layers, marks, (some, { reveal, hidden, conceals, connected }) => {
        const sockets = connected ? '\ns"n#1"u"busy"{"a":1}' : '';
        const start = `3${hidden ? 'offline' : 'busy'}"12"34${hidden ? '"h56' : ''}`;
        const text = `${start}${conceals ? '"l' : ''}"s${encode(some)}${sockets}`;
        const record = decodeRecord('ann', text, reveal);
        expect(record.ownStatus).toEqual(
          hidden && !reveal ? undefined : decodeOwnStatus(encode(some), reveal),
        );
        expect(record).toMatchObject({
          status: hidden ? (reveal ? 'invisible' : 'offline') : 'busy',
          lastSeen: new Date(conceals && !reveal ? 0 : 34),
          version: 12,
          socketIds: connected && (reveal || !hidden) ? ['s'] : [],
        });
        expect(hiddenUntil(text)).toBe(hidden ? 56 : undefined);
        expect(concealsLastSeen(text)).toBe(conceals);
        expect(record.lastSeenHidden).toBe(conceals && reveal ? true : undefined);
      }),
    );
  });

  test.each([
    '3busy"1"2',
    '3busy"1"2"h3',
    '3busy"1"2"s',
    '3busy"1"2"sbusy',
    '3busy"1"2"sbusy"0"{',
    '2busy"1"2"sbusy"0',
    '3busy"1"2\ns"n"1"s',
  ])('in %j cannot be read', (text) => {
    expect(() => decodeRecord('ann', text)).toThrow(DecodeError);
  });
});

describe('decodeRecord', () => {
  test('a user without sockets is read', () => {
    expect(decodeRecord('ann', '2offline"12"34')).toEqual({
      userId: 'ann',
      status: 'offline',
      lastSeen: new Date(34),
      socketIds: [],
      sockets: [],
      version: 12,
    });
  });

  test('sockets are sorted by connectedAt and keep their meta', () => {
    const text = '2busy"1700000000000001"34\nb"n#1"u\nc"n#2"a"busy"null\na"n#1"k"away"{"x":[1]}\nd"n#1"z"~';
    const record = decodeRecord('ann', text);
    expect(record).toEqual({
      userId: 'ann',
      status: 'busy',
      lastSeen: new Date(34),
      socketIds: ['c', 'a', 'b', 'd'],
      sockets: [
        { socketId: 'c', nodeId: 'n#2', status: 'busy', connectedAt: new Date(10), meta: null },
        { socketId: 'a', nodeId: 'n#1', status: 'away', connectedAt: new Date(20), meta: { x: [1] } },
        { socketId: 'b', nodeId: 'n#1', status: 'online', connectedAt: new Date(30) },
        { socketId: 'd', nodeId: 'n#1', status: 'away', connectedAt: new Date(35) },
      ],
      version: 1_700_000_000_000_001,
    });
    expect(record.sockets[2]).not.toHaveProperty('meta');
  });

  test('a missing lastSeen is the millisecond of the version', () => {
    expect(decodeRecord('ann', '2online"1700000000000001"').lastSeen).toEqual(new Date(1_700_000_000_000));
  });

  test.each(['junk', '', '["busy",5,1,[]]', '3busy"5"'])(
    'a record of another format, %s, is an error',
    (text) => {
      expect(() => decodeRecord('ann', text)).toThrow(DecodeError);
    },
  );

  test('a hidden lastSeen is shown only with reveal, also without a status of their own', () => {
    for (const text of ['3online"12"34"l\ns"n#1"u', '3offline"12"34"h5"l\ns"n#1"u', '3offline"34000"34"l']) {
      expect(concealsLastSeen(text)).toBe(true);
      expect(decodeRecord('ann', text).lastSeen).toEqual(new Date(0));
      expect(decodeRecord('ann', text, true)).toMatchObject({ lastSeen: new Date(34), lastSeenHidden: true });
      expect(decodeRecord('ann', text, true)).not.toHaveProperty('ownStatus');
    }
    expect(concealsLastSeen('2online"12"34\ns"n#1"u')).toBe(false);
  });

  test('the sockets of an invisible user are shown only with reveal', () => {
    const text = '2offline"12"34"h\ns"n#1"u';
    expect(decodeRecord('ann', text)).toMatchObject({ status: 'offline', socketIds: [], sockets: [] });
    expect(decodeRecord('ann', text, true)).toMatchObject({ status: 'invisible', socketIds: ['s'] });
  });

  test.each([
    ['text that is no JSON', 'online'],
    ['a truncated record', '["online",17958819'],
    ['an object', '{"v":2,"status":"online","sockets":[]}'],
    ['another order', '[2,"online",1795881938046219,1795881938046,[["s","n"]]]'],
    ['a fractional version', '["online",1.5,2,[]]'],
    ['a version beyond safe integers', '["online",1e300,2,[]]'],
    ['sockets that are no list', '["online",1,2,{}]'],
    ['a socket without its time', '["online",1,2,[["s","n","online"]]]'],
    ['a socket that is no list', '["online",1,2,[null]]'],
    ['hidden sockets that are no list', '["offline",1,2,[],5]'],
    ['null', 'null'],
  ])('decodeRecord throws a DecodeError for %s', (_, text) => {
    expect(() => decodeRecord('ann', text)).toThrow(DecodeError);
    expect(() => decodeRecord('ann', text)).toThrow('"ann"');
  });

  test('any id and meta that was written is returned', () => {
    const id = fc.oneof(
      fc.string({ unit: 'grapheme', minLength: 1 }),
      fc.string({ unit: 'binary', minLength: 1 }),
    );
    fc.assert(
      fc.property(
        id.filter((text) => Buffer.from(text).toString() === text),
        fc.jsonValue(),
        fc.nat(),
        (socketId, meta, since) => {
          const entry = encodeEntry('online', since, JSON.stringify(meta));
          const text = `2online"1"2\n${escapeId(socketId)}"n#1"${entry}`;
          const [socket] = decodeRecord('ann', text).sockets;
          expect(socket?.socketId).toBe(socketId);
          expect(socket?.connectedAt.getTime()).toBe(since);
          expect(JSON.stringify(socket?.meta)).toBe(JSON.stringify(meta));
        },
      ),
    );
  }, 20_000);
});

test('decodeChange reads a published change', () => {
  expect(decodeChange(JSON.parse('["__proto__","away","busy",34,12,3]'))).toEqual({
    userId: '__proto__',
    status: 'away',
    previous: 'busy',
    lastSeen: new Date(34),
    version: 12,
    sockets: 3,
  });
});

test.each([['null'], ['{}'], ['[]'], ['["ann","away","busy",34,"12",3]'], ['["ann","away","busy",34,12]']])(
  'decodeChange throws DecodeError for %s',
  (text) => {
    expect(() => decodeChange(JSON.parse(text))).toThrow(DecodeError);
  },
);
