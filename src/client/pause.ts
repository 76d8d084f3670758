import { Alarm } from './alarm.js';
import type { ClientError } from './client-error.js';
import type { Line } from './line.js';

/** How long to hold back what the server does not want now. */
export class Pause {
  readonly #line: Line;
  readonly #alarm: Alarm;
  #attempt = 0;

  constructor(line: Line) {
    this.#line = line;
    this.#alarm = new Alarm(line.settings.clock);
  }

  get on(): boolean {
    return this.#alarm.on;
  }

  /** `task`, when the server said in `error` or, where it did not, after a back-off. */
  begin({ retryAfter }: ClientError, task: () => void): void {
    this.#alarm.set(retryAfter ?? this.#line.delay(this.#attempt++), task);
  }

  /** All is well, or begins anew. */
  reset(): void {
    this.#attempt = 0;
    this.#alarm.off();
  }
}
