import type { Command, ExecuteOptions, Reply } from '../redis/driver.js';

/** Commands in one batch of several calls; a longer one would keep the first caller waiting. */
const MAX_COMMANDS = 1_000;

interface Call {
  readonly commands: readonly Command[];
  readonly options: ExecuteOptions;
  resolve(replies: Reply[]): void;
  reject(error: unknown): void;
}

type Send = (commands: readonly Command[], options: ExecuteOptions) => Promise<Reply[]>;

/**
 * Sends one batch at a time, because GLIDE does not send in the order of its calls. Waiting calls go as one batch if
 * none is atomic and all have the same options.
 */
export class CallQueue {
  readonly #send: Send;
  readonly #waiting: Call[] = [];
  #busy = false;

  constructor(send: Send) {
    this.#send = send;
  }

  get idle(): boolean {
    return !this.#busy && this.#waiting.length === 0;
  }

  run(commands: readonly Command[], options: ExecuteOptions): Promise<Reply[]> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ commands, options, resolve, reject });
      this.#next();
    });
  }

  /** Nothing of them was sent. */
  rejectWaiting(error: Error): void {
    for (const call of this.#waiting.splice(0)) call.reject(error);
  }

  #next(): void {
    const [first] = this.#waiting;
    if (this.#busy || first === undefined) return;
    let count = 1;
    let size = first.commands.length;
    for (const call of this.#waiting.slice(1)) {
      size += call.commands.length;
      if (size > MAX_COMMANDS || !canJoin(first.options, call.options)) break;
      count++;
    }
    const calls = this.#waiting.splice(0, count);
    this.#busy = true;
    const commands = calls.length === 1 ? first.commands : calls.flatMap((call) => call.commands);
    this.#send(commands, first.options)
      .then(
        (replies) => {
          for (const call of calls) call.resolve(replies.splice(0, call.commands.length));
        },
        (error: unknown) => {
          for (const call of calls) call.reject(error);
        },
      )
      .then(() => {
        this.#busy = false;
        this.#next();
      });
  }
}

function canJoin(first: ExecuteOptions, other: ExecuteOptions): boolean {
  if (first.atomic === true || other.atomic === true) return false;
  return (first.buffers === true) === (other.buffers === true) && first.key === other.key;
}
