import type { ClientFrame } from '../protocol/frames.js';
import { asksToWait, type ClientError } from './client-error.js';
import type { Line } from './line.js';
import { Pause } from './pause.js';

/** The next thing to tell the server. */
export interface Step {
  readonly frame: ClientFrame;
  /** It was carried out or, with an error, refused. */
  done(error: ClientError | undefined, data?: unknown): void;
  /** The server asks to try again later, which happens by itself. */
  later?(): void;
}

/**
 * Brings the server to a state that is wanted of it: one request at a time, decided on when it is written, so
 * that only the latest wish counts; again when the server asks to wait, and over again with each connection.
 */
export class Errand {
  readonly #line: Line;
  readonly #next: () => Step | undefined;
  readonly #pause: Pause;
  #busy = false;

  constructor(line: Line, next: () => Step | undefined) {
    this.#line = line;
    this.#next = next;
    this.#pause = new Pause(line);
  }

  /** To be called whenever there may be something to do. */
  run(): void {
    if (this.#busy || this.#pause.on || !this.#line.open) return;
    const step = this.#next();
    if (!step) return;
    this.#busy = true;
    this.#line.ask(JSON.stringify(step.frame), (error, data) => {
      this.#busy = false;
      if (error?.code === 'CONNECTION_LOST') return;
      if (asksToWait(error)) {
        step.later?.();
        this.#pause.begin(error, () => this.run());
      } else {
        this.stop();
        step.done(error, data);
      }
      this.run();
    });
  }

  /** No timer is left. */
  stop(): void {
    this.#pause.reset();
  }
}
