import type { ClientError } from './client-error.js';
import type { ReconnectingSocket } from './reconnecting-socket.js';
import { ResettableTimer } from './resettable-timer.js';

/** How long to hold back what the server does not want now. */
export class RetryDelay {
  readonly #line: ReconnectingSocket;
  readonly #alarm: ResettableTimer;
  #attempt = 0;

  constructor(line: ReconnectingSocket) {
    this.#line = line;
    this.#alarm = new ResettableTimer(line.settings.clock);
  }

  get active(): boolean {
    return this.#alarm.active;
  }

  /** `task`, when the server said in `error` or, where it did not, after a back-off. */
  schedule({ retryAfter }: ClientError, task: () => void): void {
    this.#alarm.set(retryAfter ?? this.#line.backoffDelay(this.#attempt++), task);
  }

  /** All is well, or begins anew. */
  reset(): void {
    this.#attempt = 0;
    this.#alarm.clear();
  }
}
