import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../../src/internal/errors.js';
import type { PresenceOptions } from '../../../src/presence/options.js';
import { resolveSettings } from '../../../src/presence/settings.js';
import { FakeDriver } from '../../support/fake-driver.js';

const read = (options: object) => resolveSettings({ redis: new FakeDriver(), ...options } as PresenceOptions);

function refusal(options: unknown): InvalidArgumentError {
  try {
    if (typeof options === 'object' && options !== null) read(options);
    else resolveSettings(options as PresenceOptions);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return error as InvalidArgumentError;
  }
  throw new Error(`not refused: ${JSON.stringify(options)}`);
}

test('settings have defaults', () => {
  expect(read({})).toMatchObject({
    prefix: 'rollcall',
    nodeName: expect.stringMatching(/^[A-Za-z0-9_.:-]{1,32}$/),
    grace: 0,
    lease: 30_000,
    renewInterval: 10_000,
    sweepInterval: 1_000,
    statusPriority: ['busy', 'online', 'away'],
    maxSocketsPerUser: 100,
    maxMetaBytes: 4_096,
    keyTtl: 3_600_000,
    lastSeenTtl: 7 * 86_400_000,
    maxFailureRatio: 0.5,
    timeout: 5_000,
  });
});

test('a shorter lease shortens the sweep and renew intervals', () => {
  expect(read({ lease: 1_200 })).toMatchObject({ lease: 1_200, renewInterval: 400, sweepInterval: 300 });
});

test('the list of statuses is a copy', () => {
  const statusPriority = ['dnd', 'online'];
  const settings = read({ statusPriority });
  statusPriority.reverse();
  expect(settings.statusPriority).toEqual(['dnd', 'online']);
});

describe('an option out of range is rejected with its name and value', () => {
  const bounds: [option: string, least: number, most: number | undefined, whole: boolean][] = [
    ['grace', 0, 86_400_000, false],
    ['lease', 500, 86_400_000, false],
    ['sweepInterval', 10, 86_400_000, false],
    ['maxSocketsPerUser', 1, undefined, true],
    ['maxMetaBytes', 2, undefined, true],
    ['keyTtl', 1_000, undefined, true],
    ['lastSeenTtl', 1, undefined, true],
    ['maxFailureRatio', 0, 1, false],
    ['timeout', 1, 600_000, false],
  ];
  for (const [option, least, most, whole] of bounds) {
    const bad: unknown[] = [
      Number.NaN,
      Number.POSITIVE_INFINITY,
      -1,
      least - 0.001,
      '1000',
      null,
      {},
      true,
      10n,
    ];
    if (most !== undefined) bad.push(most + 0.001);
    if (whole) bad.push(least + 0.5);
    test.each(bad.map((value) => [typeof value === 'string' ? JSON.stringify(value) : String(value), value]))(
      `${option} out of range: %s`,
      (_, value) => {
        const error = refusal({ [option]: value });
        expect(error.argument).toBe(option);
        expect(error.message).toMatch(new RegExp(`^${option}: must be a (whole )?number`));
        expect(error.message).toMatch(/not (NaN|Infinity|-?[\d.]+n?|"1000"|null|an object|true)$/);
      },
    );
  }

  test.each([
    ['prefix', ''],
    ['prefix', 'a{b}'],
    ['prefix', 'a b'],
    ['prefix', 'x'.repeat(65)],
    ['prefix', 7],
    ['nodeName', 'a#b'],
    ['nodeName', 'a"b'],
    ['nodeName', null],
    ['statusPriority', []],
    ['statusPriority', 'busy'],
    ['statusPriority', ['busy', 'offline']],
    ['statusPriority', ['busy', 'a,b']],
    ['statusPriority', ['busy', 'busy']],
    ['statusPriority', [1]],
    ['onError', 'console'],
    ['onError', 1],
  ])('an invalid %s is rejected: %j', (option, value) => {
    expect(refusal({ [option]: value }).argument).toBe(option);
  });

  test.each([[undefined], [null], ['redis://localhost'], [7]])(
    'options that are not an object are rejected: %s',
    (options) => {
      expect(refusal(options as never).argument).toBe('options');
    },
  );
});

describe('options that do not fit together are rejected with both values', () => {
  test('a sweepInterval that is too long for the lease is rejected', () => {
    expect(read({ lease: 4_000, sweepInterval: 2_000 }).sweepInterval).toBe(2_000);
    const { argument, message } = refusal({ lease: 4_000, sweepInterval: 2_001 });
    expect(argument).toBe('sweepInterval');
    expect(message).toContain('2001');
    expect(message).toContain('half of lease (2000)');
  });

  test.each([
    ['lease', { lease: 20_000, keyTtl: 59_999 }, '20000', '19999.'],
    ['grace', { lease: 10_000, grace: 15_000, keyTtl: 60_000 }, '25000', '20000'],
  ])('a keyTtl that is too short for %s is rejected', (_, options, value, limit) => {
    const { message } = refusal(options);
    expect(message).toContain('lease and grace together');
    expect(message).toContain(value);
    expect(message).toContain(`a third of keyTtl (${limit}`);
  });

  test('a keyTtl that is just long enough is accepted', () => {
    expect(read({ lease: 20_000, keyTtl: 60_000 }).keyTtl).toBe(60_000);
  });
});
