import { expect, test } from 'vitest';
import { parseClientFrame } from '../../../src/server/parse-frame.js';
import { anyFrame } from '../../shared/frame-arbitraries.js';
import { fc } from '../../support/property.js';

const nested = (depth: number) => `{"type":"ping","a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;

test('any JSON is parsed or rejected, without side effects', () => {
  const own = Object.getOwnPropertyNames(Object.prototype);
  fc.assert(
    fc.property(anyFrame, (text) => {
      const frame = parseClientFrame(text);
      if ('problem' in frame) {
        expect(frame.problem).toMatch(/\w/);
        expect(frame.id === undefined || Number.isSafeInteger(frame.id)).toBe(true);
      } else {
        expect(Object.hasOwn(frame, 'type')).toBe(true);
        expect(JSON.parse(text)).toEqual(frame);
      }
    }),
    { numRuns: 2_000 },
  );
  expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(own);
});

test('any text is parsed or rejected', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(parseClientFrame(Buffer.from(bytes).toString())).toMatchObject({ problem: expect.any(String) });
    }),
  );
});

test('nesting is limited to 100, and brackets in strings do not count', () => {
  expect(parseClientFrame(nested(100))).toMatchObject({ type: 'ping' });
  expect(parseClientFrame(nested(101))).toMatchObject({
    readable: false,
    problem: expect.stringMatching(/nested/),
  });
  const brackets = `"${'[{'.repeat(500)}\\"${'[{'.repeat(500)}\\\\"`;
  expect(parseClientFrame(`{"type":"ping","a":${brackets}}`)).toMatchObject({ type: 'ping' });
  expect(parseClientFrame(`{"type":"ping","a":[${'[],'.repeat(500)}1]}`)).toMatchObject({ type: 'ping' });
  expect(parseClientFrame(`{"type":"ping","a":"\\\\","b":${'['.repeat(101)}`)).toMatchObject({
    problem: expect.stringMatching(/nested/),
  });
  expect(parseClientFrame('['.repeat(1_000_000))).toMatchObject({ readable: false });
});

test('the id of an invalid frame is returned if it is readable', () => {
  expect(parseClientFrame('{"type":"join","id":7}')).toMatchObject({ readable: true, id: 7 });
  expect(parseClientFrame('{"type":"later","id":7}')).toMatchObject({ readable: true, id: 7 });
  expect(parseClientFrame('{"id":7}')).toMatchObject({ readable: false, id: 7 });
  expect(parseClientFrame('{"type":"ping","id":9007199254740993}')).toMatchObject({
    readable: false,
    id: undefined,
  });
  expect(parseClientFrame(undefined)).toMatchObject({ readable: false, id: undefined });
});
