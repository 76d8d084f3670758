import { expect, test } from 'vitest';
import { assertPosition, positionTime } from '../../../src/history/position.js';
import { InvalidArgumentError } from '../../../src/internal/errors.js';

test.each(['1795319308000409-432766', '0-0', '1-1'])('%j is a position', (value) => {
  expect(() => assertPosition('since', value)).not.toThrow();
});

test.each([
  '',
  '-',
  '1',
  '1-',
  '-1',
  '1-1 ',
  ' 1-1',
  '1-1\n',
  '+',
  '$',
  '1.5-1',
  '12345678901234567-1',
  '*',
  1,
  null,
  {},
])('%j is not a position', (value) => {
  expect(() => assertPosition('since', value)).toThrow(InvalidArgumentError);
});

test('positions are ordered by time', () => {
  expect(positionTime('1795319308000409-432766')).toBe(1_795_319_308_000_409);
});
