import { describe, expect, test } from 'vitest';
import { jsonCodec } from '../../../src/internal/codec.js';
import type { MessageContext } from '../../../src/pubsub/message-context.js';
import {
  EncodedFrame,
  jsonEncoder,
  MessageParser,
  parseRoomMessage,
  type RoomEvent,
  type RoomMessage,
} from '../../../src/rooms/room-message.js';
import { type Arbitrary, fc } from '../../support/property.js';

const text = fc.string({ unit: 'grapheme', maxLength: 20 });
/** Any UTF-16 units, lone surrogates included. */
const anyText = fc.string({
  unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
});
const name = fc.oneof(
  text.filter((value) => value !== ''),
  fc.constantFrom('__proto__', '"', '\\', '\\"', '{"event":"', 'new\nline', '$disconnect', '\u2028', '😀'),
);
const optional = <T>(arbitrary: Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const position = fc.constantFrom(undefined, '0-0', '1795331480927394-331170');

/** The payload that RoomService publishes. */
function published({ except, event, from, data }: Partial<RoomEvent>): string {
  const message = {
    ...(except === undefined ? {} : { except }),
    event,
    ...(from === undefined ? {} : { from }),
    data,
  };
  return jsonCodec.encode(message) as string;
}

const frameOf = (message: RoomMessage | undefined): unknown =>
  JSON.parse(String(jsonEncoder.message(message as RoomMessage)));

describe('an event', () => {
  test('an event has the same content in its frame as in its payload', () => {
    fc.assert(
      fc.property(
        optional(name),
        name,
        optional(name),
        fc.jsonValue(),
        optional(name),
        position,
        (except, event, from, data, room, place) => {
          const payload = published({ except, event, from, data } as RoomEvent);
          const message = parseRoomMessage(room, place, payload) as RoomMessage;
          const { type, ...frame } = frameOf(message) as { type: string };
          const at = place && Math.floor(Number(place.split('-')[0]) / 1_000);
          const expected = { room, position: place, at, event, from, data: JSON.parse(JSON.stringify(data)) };
          expect(type).toBe('event');
          expect(frame).toEqual(JSON.parse(JSON.stringify(expected)));
          expect(message.except).toBe(except);
          expect(message.internal).toBe(event === '$disconnect');
          expect([message.event, message.from]).toEqual([event, from]);
          expect(message.data).toEqual(expected.data);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('an event of another program is accepted with its members in any order', () => {
    fc.assert(
      fc.property(
        fc.record({ except: name, event: name, from: name, data: fc.jsonValue() }),
        fc.shuffledSubarray(['except', 'event', 'from', 'data'] as const, { minLength: 4 }),
        fc.subarray<keyof RoomEvent>(['except', 'from', 'data']),
        fc.constantFrom(undefined, 2),
        (event, order, left, indent) => {
          const kept = order.filter((key) => !left.includes(key));
          const foreign = JSON.stringify(
            Object.fromEntries(kept.map((key) => [key, event[key]])),
            null,
            indent,
          );
          const message = parseRoomMessage('r', undefined, foreign) as RoomMessage;
          expect(message.event).toBe(event.event);
          expect(message.from).toBe(kept.includes('from') ? event.from : undefined);
          expect(message.except).toBe(kept.includes('except') ? event.except : undefined);
          const { data } = frameOf(message) as { data?: unknown };
          const expected = kept.includes('data') ? JSON.parse(JSON.stringify(event.data)) : null;
          // Only a payload in the form of RoomService is passed on unchanged.
          expect(data ?? null).toEqual(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('an event is relayed without parsing', () => {
    const payload = '{"event":"x","data":1.0}';
    expect(parseRoomMessage('r', undefined, payload)?.json).toBe(payload);
    expect(String(jsonEncoder.message(parseRoomMessage('r', '5999-1', payload) as RoomMessage))).toBe(
      '{"type":"event","room":"r","position":"5999-1","at":5,"event":"x","data":1.0}',
    );
    const excepting = parseRoomMessage(undefined, undefined, '{"except":"a\\"b","event":"x","data":1.0}');
    expect(excepting?.json).toBe(payload);
    expect(excepting?.except).toBe('a"b');
  });
});

describe('a payload that is not an event', () => {
  test.each([
    '',
    'x',
    'null',
    '5',
    '"event"',
    '[]',
    '{}',
    '{"event":5}',
    '{"data":{"event":"x"}}',
    '{"except":"a\nb","event":"x"}',
    '{"except":"\\x","event":"x"}',
  ])('an invalid payload is rejected: %j', (payload) => {
    expect(parseRoomMessage('r', undefined, payload)).toBeUndefined();
  });

  test('no payload makes parsing throw', () => {
    const starts = fc.constantFrom(
      '',
      '{"event":"',
      '{"except":"',
      '{"except":"a","event":"',
      '{"event":"$disconnect"',
    );
    fc.assert(
      fc.property(starts, anyText, (start, rest) => {
        const message = parseRoomMessage('r', undefined, start + rest);
        if (message !== undefined) jsonEncoder.message(message);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('parsing for many peers', () => {
  const context = (channel: string): MessageContext => ({ channel, raw: '' });

  test('a message is parsed once for all peers', () => {
    const failed: string[] = [];
    const parser = new MessageParser((channel) => failed.push(channel));
    const [one, two] = [context('a'), context('a')];
    const payload = '{"event":"x","data":1}';
    const first = parser.parse('a', payload, one);
    expect(parser.parse('a', payload, one)).toBe(first);
    expect(parser.parse('a', payload, two)).not.toBe(first);
    expect(first?.frame).toBeInstanceOf(EncodedFrame);
    expect(failed).toEqual([]);
  });

  test('no peer receives a message for an invalid payload, or the previous message again', () => {
    const failed: string[] = [];
    const parser = new MessageParser((channel) => failed.push(channel));
    parser.parse('secret', '{"event":"x","data":1}', context('secret'));
    const bad = context('a');
    expect([1, 2, 3].map(() => parser.parse('a', '{"except":"\n","event":"x"}', bad))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(failed).toEqual(['a']);
  });
});
