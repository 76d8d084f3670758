import { inject, vi } from 'vitest';
import { timeLimit } from './machine.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** Milliseconds that a test may take on an idle machine. */
    testTimeout: number;
  }
}

const testTimeout = timeLimit(inject('testTimeout'));
vi.setConfig({ testTimeout, hookTimeout: testTimeout });
