import { describe, expect, test } from 'vitest';
import {
  escapeEventName,
  formatEvent,
  formatId,
  formatRetry,
  KEEP_ALIVE_COMMENT,
} from '../../../src/http/event-stream-format.js';
import { createEventParser, type ParsedEvent } from '../../../src/protocol/event-parser.js';
import { parseRoomMessage } from '../../../src/rooms/room-message.js';
import { LastEventId, MAX_CHANNELS, StreamPositions, toChannelKey } from '../../../src/sse/last-event-id.js';
import { sseEncoder } from '../../../src/sse/sse-encoder.js';
import { fc } from '../../support/property.js';
import { EventParser } from '../../support/sse-client.js';

function parsed(text: string): EventParser {
  const parser = new EventParser();
  parser.feed(Buffer.from(text).toString());
  return parser;
}

/** Text that UTF-8 can encode, with many characters that are special in the format. */
const text = fc
  .array(
    fc.oneof(
      fc.constantFrom('\n', '\r', '\r\n', ':', ' ', '\0', '\ufeff', 'data: '),
      fc.string({ unit: 'binary' }),
    ),
  )
  .map((parts) => Buffer.from(parts.join('')).toString());

describe('an event', () => {
  test('any text survives encoding and parsing, with line ends as \\n', () => {
    fc.assert(
      fc.property(text, text, (event, data) => {
        const name = escapeEventName(event);
        const { events } = parsed(formatEvent(name, data) + formatEvent('message', 'next'));
        expect(events).toEqual([
          { type: name || 'message', data: data.replace(/\r\n?/g, '\n'), lastEventId: '' },
          { type: 'message', data: 'next', lastEventId: '' },
        ]);
      }),
    );
  });

  test('line ends in an event name are escaped; other names are unchanged', () => {
    expect(escapeEventName('a\r\nid: 1')).toBe('a\\r\\nid: 1');
    expect(escapeEventName(' ünïcode: 1 ')).toBe(' ünïcode: 1 ');
  });

  test('an id without data is stored; a comment and retry dispatch no event', () => {
    const parser = parsed(`${formatRetry(1_234.5)}${KEEP_ALIVE_COMMENT}${formatId('there')}\n`);
    expect(parser.events).toEqual([]);
    expect([parser.lastEventId, parser.retry, parser.comments]).toEqual(['there', 1_235, 1]);
  });
});

describe('the room encoder', () => {
  const json = fc.json({ noUnicodeString: false }).map((value) => value.replace(/[\r\n]/g, ' '));

  test('data is the published JSON with room and position', () => {
    fc.assert(
      fc.property(
        fc.option(fc.string({ minLength: 1 }), { nil: undefined }),
        fc.option(fc.constant('12345-3'), { nil: undefined }),
        fc.string({ minLength: 1, unit: 'grapheme' }),
        fc.option(fc.string(), { nil: undefined }),
        json,
        fc.boolean(),
        (room, position, event, from, data, isReplayed) => {
          const payload = JSON.stringify({ event, from, data: JSON.parse(data) });
          const message = parseRoomMessage(room, position, payload, isReplayed);
          const frame = String(sseEncoder.message(message as never));
          const marks: boolean[] = [];
          const onEvent = ({ replayed }: ParsedEvent) => marks.push(replayed);
          createEventParser({ onEvent, onId() {}, onRetry() {} })(frame);
          expect(marks).toEqual([isReplayed]);
          const { events } = parsed(frame);
          expect(events).toHaveLength(1);
          expect(events[0]?.type).toBe(escapeEventName(event));
          const at = position && 12;
          const replayed = isReplayed || undefined;
          const want = JSON.stringify({ room, position, at, replayed, from, data: JSON.parse(data) });
          expect(JSON.parse(events[0]?.data ?? '')).toEqual(JSON.parse(want));
        },
      ),
    );
  });

  test('a payload that only begins like an event dispatches no event', () => {
    for (const payload of ['{"event":"', '{"event":"a', '{"event":"a"', '{"event":"a\\']) {
      const message = parseRoomMessage('room', '1-1', payload);
      expect(parsed(String(sseEncoder.message(message as never))).events).toEqual([]);
    }
  });

  test('notices have event names that applications cannot broadcast', () => {
    const members = { type: 'members', room: 'a', members: [] } as const;
    const { events } = parsed(String(sseEncoder.notice(members)));
    expect(events).toEqual([{ type: '$members', data: '{"room":"a","members":[]}', lastEventId: '' }]);
    expect(parsed(String(sseEncoder.notice({ type: 'position', position: '1-1' }))).events).toEqual([]);
  });
});

describe('the last event id', () => {
  const position = fc.tuple(fc.nat({ max: 2 ** 50 }), fc.nat()).map(([time, node]) => `${time}-${node}`);
  const places = fc.uniqueArray(
    fc.record({
      key: fc.string({ minLength: 1 }).map(toChannelKey),
      position: fc.option(position, { nil: undefined }),
    }),
    { minLength: 1, maxLength: MAX_CHANNELS, selector: ({ key }) => key },
  );

  test('an id contains the position in every channel', () => {
    fc.assert(
      fc.property(places, (given) => {
        const { id } = new StreamPositions(given);
        // An id needs no escaping in a header or URL.
        expect(encodeURIComponent(id)).toBe(id);
        expect(id.length).toBeLessThan(4_800);
        const last = new LastEventId(id);
        expect(last.isPresent).toBe(true);
        for (const { key, position } of given) {
          expect(last.resumePoint(key)).toEqual({ since: position, lost: position === undefined });
        }
        // A channel that was added to the stream.
        expect(last.resumePoint('not-one.')).toEqual({ since: undefined, lost: false });
      }),
    );
  });

  test('a new client has no loss in any channel', () => {
    for (const none of [undefined, '']) {
      const last = new LastEventId(none);
      expect([last.isPresent, last.resumePoint(toChannelKey('a'))]).toEqual([
        false,
        { since: undefined, lost: false },
      ]);
    }
  });

  test('an unreadable id never throws and counts as a loss in every channel', () => {
    const key = toChannelKey('a');
    const odd = ['17', `${key}.x`, `${key}.1-1.2`, `${key}~${key}`, `${key}.1-1~`, '~', '\0', 'é'.repeat(8)];
    for (const text of [...odd, `${key}.1-1`.repeat(9_999)]) {
      expect(new LastEventId(text).resumePoint(key), text.slice(0, 50)).toEqual({
        since: undefined,
        lost: true,
      });
    }
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (text) => {
        expect(new LastEventId(text).isPresent).toBe(true);
        expect(new LastEventId(text).resumePoint(key).since).toBeUndefined();
      }),
    );
  });
});
