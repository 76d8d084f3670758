import type { EventFrame } from '../protocol/frames.js';

/** Removes the handler; it is not called afterwards. */
export type Unsubscribe = () => void;

type Handler = (...args: never[]) => unknown;

/** An error of a handler is reported, and the other handlers still run. */
export function createEmitter(report: (error: unknown, name: string) => void) {
  /** In the order of registration; replaced by each change. */
  let handlers: readonly { readonly name: string; readonly call: Handler }[] = [];

  const emit = (name: string, ...args: unknown[]): void => {
    // Handlers added during the loop wait for the next event; removed ones are skipped.
    for (const handler of handlers) {
      if (handler.name !== name || !handlers.includes(handler)) continue;
      const call = async () => handler.call(...(args as never[]));
      call().catch((error: unknown) => report(error, name));
    }
  };

  return {
    on(name: string, call: Handler): Unsubscribe {
      // A new object, so that the same function given twice is two handlers.
      const handler = { name, call };
      handlers = [...handlers, handler];
      return () => {
        handlers = handlers.filter((each) => each !== handler);
      };
    },
    emit,
    /** For `*` too. Names with `$` belong to the protocol and are not emitted. */
    emitEvent(frame: EventFrame): void {
      const { event, data } = frame;
      if (event[0] === '$') return;
      if (event !== '*') emit(event, data, frame);
      emit('*', data, frame);
    },
    clear(): void {
      handlers = [];
    },
  };
}
