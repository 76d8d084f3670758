import { describe, expect, test } from 'vitest';
import {
  escapePayload,
  headerStart,
  OF_OTHER_DATABASE,
  unwrap,
  wrapTransient,
} from '../../../src/history/envelope.js';
import { fc } from '../../support/property.js';

const [position, previous] = ['1795319308000409-432766', '1795319307999458-9'];

describe('a message with history', () => {
  test('an envelope is parsed from text', () => {
    expect(unwrap(`rc1:${position}:${previous}\n{"a":\n1}`)).toEqual({
      payload: '{"a":\n1}',
      link: { position, previous },
      transient: false,
    });
  });

  test('an envelope is parsed from bytes', () => {
    const payload = Buffer.from([0x00, 0xff, 0x0a]);
    const unwrapped = unwrap(Buffer.concat([Buffer.from(`rc1:${position}:${previous}\n`), payload]));
    expect(unwrapped).toEqual({ payload, link: { position, previous }, transient: false });
  });
});

test.each([
  '',
  '{}',
  'r',
  'rc1:',
  'rc1:x\ny',
  `rc1:${position}\n`,
  `rc1:${position}:${previous}`,
  'rc1:1-2:3-4:\n',
])('%j is not an envelope', (payload) => {
  expect(unwrap(payload)).toBeUndefined();
  expect(unwrap(Buffer.from(payload))).toBeUndefined();
});

test('any payload published without history arrives unchanged', () => {
  const magic = fc.constantFrom('', 'rc1:', 'rc1::\n', `rc1:${position}:${previous}\n`);
  fc.assert(
    fc.property(magic, fc.string({ unit: 'binary' }), (start, rest) => {
      const sent = escapePayload(start + rest);
      expect(unwrap(sent)?.payload ?? sent).toBe(start + rest);
      expect(unwrap(sent)?.link).toBeUndefined();
      const bytes = escapePayload(Buffer.from(start + rest));
      expect(unwrap(bytes)?.payload ?? bytes).toEqual(Buffer.from(start + rest));
    }),
  );
});

test('any payload published as transient arrives unchanged, and is marked', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(unwrap(wrapTransient(text))).toEqual({ payload: text, link: undefined, transient: true });
      const bytes = Buffer.from(text);
      expect(unwrap(wrapTransient(bytes))).toEqual({ payload: bytes, link: undefined, transient: true });
      expect(unwrap(escapePayload(text))?.transient ?? false).toBe(false);
    }),
  );
});

test('JSON is published unchanged', () => {
  fc.assert(
    fc.property(fc.json(), (json) => {
      expect(escapePayload(json)).toBe(json);
    }),
  );
});

describe('a header of a logical database', () => {
  const bodies = ['1-0:0-0\npayload', '~\npayload'];

  test.each(bodies)('a header of a logical database is read in that database only: %j', (body) => {
    for (const [written, read] of [
      ['', ''],
      ['@1', '@1'],
      ['@12', '@12'],
    ]) {
      expect(unwrap(headerStart(written as string) + body, read)?.payload).toBe('payload');
    }
    for (const [written, read] of [
      ['', '@1'],
      ['@1', ''],
      ['@1', '@2'],
      ['@1', '@12'],
    ]) {
      const text = headerStart(written as string) + body;
      expect(unwrap(text, read)).toBe(OF_OTHER_DATABASE);
      expect(unwrap(Buffer.from(text), read)).toBe(OF_OTHER_DATABASE);
    }
  });

  test('an escaped payload belongs to no database', () => {
    const escaped = escapePayload('rc1@1:~\n');
    for (const suffix of ['', '@1', '@2']) expect(unwrap(escaped, suffix)?.payload).toBe('rc1@1:~\n');
  });
});
