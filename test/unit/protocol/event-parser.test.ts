import { expect, test } from 'vitest';
import { createEventParser, type ParsedEvent, REPLAYED_COMMENT } from '../../../src/protocol/event-parser.js';
import { fc } from '../../support/property.js';
import { EventParser } from '../../support/sse-client.js';

function parse(pieces: readonly string[]) {
  let id = '';
  let retry: number | undefined;
  const events: object[] = [];
  const feed = createEventParser({
    onEvent: ({ event, data }) => events.push({ type: event, data, lastEventId: id }),
    onId: (next) => {
      id = next;
    },
    onRetry: (ms) => {
      retry = ms;
    },
  });
  for (const piece of pieces) feed(piece);
  return { events, id, retry };
}

const lines = fc.constantFrom(
  'data: a',
  'data:b',
  'data:  two spaces',
  'data',
  'event: reading',
  'event',
  'id: 7',
  'id',
  'id: x\0y',
  'retry: 20',
  'retry: 2s',
  ': comment',
  REPLAYED_COMMENT,
  'unknown: field',
  '',
);
const text = fc
  .array(fc.tuple(lines, fc.constantFrom('\n', '\r', '\r\n')))
  .map((each) => each.map(([line, end]) => line + end).join(''));

test('any stream, cut anywhere, gives what a parser written from the standard gives for each character', () => {
  fc.assert(
    fc.property(text, fc.array(fc.nat(40)), (stream, sizes) => {
      const expected = new EventParser();
      expected.feed(stream);
      const pieces: string[] = [];
      let at = 0;
      for (const size of sizes) {
        pieces.push(stream.slice(at, at + size));
        at += size;
      }
      pieces.push(stream.slice(at));
      const { events, id, retry } = parse(pieces);
      expect(events).toEqual(expected.events);
      expect(id).toBe(expected.lastEventId);
      expect(retry).toBe(expected.retry);
    }),
  );
});

test('the mark of a replayed event is that of one event, wherever it is in the event', () => {
  const marks: [string, boolean][] = [];
  const onEvent = ({ data, replayed }: ParsedEvent) => marks.push([data, replayed]);
  const feed = createEventParser({ onEvent, onId() {}, onRetry() {} });
  feed('data: a\n\n:replayed\nid: 1\ndata: b\n\ndata: c\n\nid: 2\n:replayed\ndata: d\n\n');
  feed(':replayed\n\ndata: e\n\n: replayed\ndata: f\n\n');
  expect(marks).toEqual([
    ['a', false],
    ['b', true],
    ['c', false],
    ['d', true],
    ['e', false],
    ['f', false],
  ]);
});

test('an event without its blank line is not emitted', () => {
  expect(parse(['id: 1\ndata: a\n']).events).toEqual([]);
});
