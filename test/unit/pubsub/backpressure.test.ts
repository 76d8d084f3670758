import { expect, test } from 'vitest';
import { type ErrorContext, ErrorReporter } from '../../../src/internal/diagnostics.js';
import { GuardedBackpressure } from '../../../src/pubsub/backpressure.js';
import { ServiceContext } from '../../../src/pubsub/service-context.js';
import { FakeClock, turn } from '../../support/fake-clock.js';

function fixture(receiver: { full: boolean; drained(): Promise<void> }) {
  const clock = new FakeClock();
  const reports: [string, ErrorContext][] = [];
  const reporter = new ErrorReporter((error, context) => void reports.push([error.message, context]));
  const guarded = new GuardedBackpressure(receiver, new ServiceContext(reporter, '', 0, clock), 'x');
  return { clock, reports, guarded };
}

test('failures of the receiver are reported, and do not end a catch-up', async () => {
  const { reports, guarded } = fixture({
    get full(): boolean {
      throw new Error('full failed');
    },
    drained: () => Promise.reject(new Error('drained failed')),
  });
  expect(guarded.full).toBe(false);
  await guarded.drained();
  expect(reports.map(([message]) => message)).toEqual([
    expect.stringContaining('full failed'),
    expect.stringContaining('drained failed'),
    expect.stringContaining('full failed'),
  ]);
  expect(reports[0]?.[1]).toEqual({ stage: 'handler', channel: 'x' });
});

test('a receiver that is full after `drained` is asked again later, and does not spin', async () => {
  const receiver = { full: true, drained: async () => {} };
  const { clock, guarded } = fixture(receiver);
  let drained = false;
  void guarded.drained().then(() => {
    drained = true;
  });
  await turn();
  expect(drained).toBe(false);
  clock.advance(50);
  await turn();
  expect(drained).toBe(true);
});
