import type { Reporter, TestModule } from 'vitest/node';

/** Reports what the run left out, and ends it with one line of counts. */
export class CountReporter implements Reporter {
  readonly #leftOut: string[];

  constructor(leftOut: string[]) {
    this.#leftOut = leftOut;
  }

  onInit(): void {
    this.#sayLeftOut();
  }

  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandledErrors: ReadonlyArray<unknown>): void {
    let passed = 0;
    let skipped = 0;
    // Errors outside any test fail the run too, so they must not vanish from the counts.
    let failed = unhandledErrors.length;
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') passed++;
        else if (state === 'failed') failedHere++;
        else skipped++;
      }
      // A file that can't be loaded, or whose hook fails, fails without a failed test.
      if (failedHere === 0 && !module.ok()) failedHere = 1;
      failed += failedHere;
    }
    this.#sayLeftOut();
    console.log(`tests: ${passed} passed, ${failed} failed, ${skipped} skipped`);
  }

  #sayLeftOut(): void {
    if (this.#leftOut.length > 0) console.log(`left out: ${this.#leftOut.join('; ')}`);
  }
}
