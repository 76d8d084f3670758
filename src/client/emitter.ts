import type { EventFrame } from '../protocol/frames.js';

/** Ends a subscription; after it the handler is not called any more. */
export type Unsubscribe = () => void;

type Handler = (...args: never[]) => unknown;
type Report = (error: unknown, name: string) => void;

/** Handlers by the name of what they want to hear. One that throws is reported, and disturbs nobody. */
export class Emitter {
  readonly #handlers = new Map<string, Set<{ readonly call: Handler }>>();
  readonly #report: Report;

  constructor(report: Report) {
    this.#report = report;
  }

  on(name: string, call: Handler): Unsubscribe {
    // An object of its own, so that the same function given twice is two handlers.
    const handler = { call };
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  emit(name: string, ...args: unknown[]): void {
    // Those added meanwhile wait for the next one; those removed meanwhile are not called.
    for (const handler of [...(this.#handlers.get(name) ?? [])]) {
      if (!this.#handlers.get(name)?.has(handler)) continue;
      try {
        const result = handler.call(...(args as never[]));
        if (result instanceof Promise) result.catch((error: unknown) => this.#report(error, name));
      } catch (error) {
        this.#report(error, name);
      }
    }
  }

  /** An event of the application's, which `*` hears too. The protocol's own are for nobody. */
  emitEvent(frame: EventFrame): void {
    const { event, data } = frame;
    if (event[0] === '$') return;
    if (event !== '*') this.emit(event, data, frame);
    this.emit('*', data, frame);
  }

  clear(): void {
    this.#handlers.clear();
  }
}
