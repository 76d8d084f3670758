import { expect, test } from 'vitest';
import { createEventParser } from '../../../src/protocol/event-parser.js';
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

test('an event without its blank line is not emitted', () => {
  expect(parse(['id: 1\ndata: a\n']).events).toEqual([]);
});
