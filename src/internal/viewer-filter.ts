import { type ErrorReporter, isThenable, messageOf } from './diagnostics.js';
import { HandlerError, InvalidArgumentError, isRollcallError } from './errors.js';
import { assertFunction } from './validate.js';

/** The option `visible`: whether a viewer may see a user. */
export type VisibleToViewer = (userId: string) => boolean;

/** Asks the application which users one viewer may see. A user is hidden unless the answer is `true`. */
export class ViewerFilter {
  readonly #visible: VisibleToViewer;
  readonly #isViewer: (userId: string) => boolean;
  readonly #reporter: ErrorReporter;
  #reported = false;

  constructor(visible: VisibleToViewer, isViewer: (userId: string) => boolean, reporter: ErrorReporter) {
    this.#visible = visible;
    this.#isViewer = isViewer;
    this.#reporter = reporter;
  }

  /** Never throws. Viewers see themselves. */
  sees(userId: string): boolean {
    if (this.#isViewer(userId)) return true;
    try {
      const answer: unknown = this.#visible(userId);
      if (typeof answer === 'boolean') return answer;
      if (isThenable(answer)) answer.then(undefined, () => {});
      throw new InvalidArgumentError('visible', NOT_BOOLEAN);
    } catch (error) {
      this.#report(error);
      return false;
    }
  }

  /** Once per connection: the next failure may follow within the same list. */
  #report(error: unknown): void {
    if (this.#reported) return;
    this.#reported = true;
    const reported = isRollcallError(error)
      ? error
      : new HandlerError(`visible failed, so the user is hidden: ${messageOf(error)}`, { cause: error });
    this.#reporter.report(reported, { stage: 'handler' });
  }
}

const NOT_BOOLEAN =
  'must return true or false at once, not a promise: load what it needs before, for example in authenticate';

/** @throws {@link InvalidArgumentError} for an `async` function, too; other functions that return a promise hide all users. */
export function assertVisible(value: unknown): void {
  if (value === undefined) return;
  assertFunction('visible', value);
  if ((value as object).constructor.name === 'AsyncFunction')
    throw new InvalidArgumentError('visible', NOT_BOOLEAN);
}
