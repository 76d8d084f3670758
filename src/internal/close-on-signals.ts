import { constants } from 'node:os';
import { messageOf } from './diagnostics.js';
import { assertFunction, assertOptions } from './validate.js';

/** Options of {@link closeOnSignals}. */
export interface CloseOnSignalsOptions {
  /** Signals that end the process. @default ['SIGTERM', 'SIGINT'] */
  signals?: readonly NodeJS.Signals[];
  /** Ends the process; for tests. @default process.exit */
  exit?: (code?: number) => unknown;
}

/** Supervisors often send two signals; the third one forces the end. */
const FORCING_SIGNAL = 3;

/**
 * Ends the process in order: the first signal calls `close` and exits when it has settled, with code 1 and a warning
 * if it rejects. A second signal does not interrupt it; a third one exits at once with 128 + the signal's number.
 *
 * @example
 * ```ts
 * closeOnSignals(async () => {
 *   await close({ handoff: true });
 *   redis.destroy();
 * });
 * ```
 * @returns a function that removes the signal listeners.
 * @throws {@link InvalidArgumentError} if `close` or `exit` is not a function.
 */
export function closeOnSignals(
  close: (signal: NodeJS.Signals) => unknown,
  options: CloseOnSignalsOptions = {},
): () => void {
  assertFunction('close', close);
  assertOptions('options', options, { signals: true, exit: true });
  const { signals = ['SIGTERM', 'SIGINT'], exit = (code?: number) => process.exit(code) } = options;
  assertFunction('exit', exit);
  let received = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    received++;
    if (received === 1) void closeThenExit(signal);
    else if (received === FORCING_SIGNAL) exit(128 + constants.signals[signal]);
  };
  const closeThenExit = async (signal: NodeJS.Signals) => {
    try {
      await close(signal);
      exit();
    } catch (error) {
      process.emitWarning(`closing on ${signal} failed: ${messageOf(error)}`, { type: 'RollcallWarning' });
      exit(1);
    }
  };
  for (const signal of signals) process.on(signal, onSignal);
  return () => {
    for (const signal of signals) process.off(signal, onSignal);
  };
}
