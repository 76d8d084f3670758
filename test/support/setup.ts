import { inject, vi } from 'vitest';
import { resetSlowness, timeLimit } from './machine.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Milliseconds that a test may take on an idle machine. */
    testTimeout: number;
  }
}

resetSlowness();
const testTimeout = timeLimit(inject('testTimeout'));
vi.setConfig({ testTimeout, hookTimeout: testTimeout });
