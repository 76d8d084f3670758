import type { EventFrame } from '../protocol/frames.js';

/** Removes the handler; it is not called afterwards. */
export type Unsubscribe = () => void;

type Handler = (...args: never[]) => unknown;

/** An error of a handler is reported, and the other handlers still run. */
export function createEmitter(report: (error: unknown, name: string) => void) {
  const handlersByName = new Map<string, Set<{ readonly call: Handler }>>();

  const emit = (name: string, ...args: unknown[]): void => {
    // Handlers added during the loop wait for the next event; removed ones are skipped.
    for (const handler of [...(handlersByName.get(name) ?? [])]) {
      if (!handlersByName.get(name)?.has(handler)) continue;
      try {
        const result = handler.call(...(args as never[]));
        if (result instanceof Promise) result.catch((error: unknown) => report(error, name));
      } catch (error) {
        report(error, name);
      }
    }
  };

  return {
    on(name: string, call: Handler): Unsubscribe {
      // A new object, so that the same function given twice is two handlers.
      const handler = { call };
      const handlers = handlersByName.get(name) ?? new Set();
      handlersByName.set(name, handlers.add(handler));
      return () => void handlers.delete(handler);
    },
    emit,
    /** For `*` too. Names with `$` belong to the protocol and are not emitted. */
    emitEvent(frame: EventFrame): void {
      const { event, data } = frame;
      if (event[0] === '$') return;
      if (event !== '*') emit(event, data, frame);
      emit('*', data, frame);
    },
    clear: () => handlersByName.clear(),
  };
}
