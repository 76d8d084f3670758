import { toRequestError } from './exceptions.js';
import { setFailure } from './gateway-client.js';

/**
 * An exception filter for gateways. The client receives a `RequestError` with its code, `UNAVAILABLE` while Redis cannot
 * be reached, and `INTERNAL` for all other errors, which are reported to `onError`. Without the filter, all errors but a
 * `WsException` are `INTERNAL`, because Nest's own filter hides them.
 *
 * @example
 * ```ts
 * @UseFilters(new RollcallExceptionFilter())
 * @WebSocketGateway({ path: '/ws' })
 * export class ChatGateway {}
 * ```
 */
export class RollcallExceptionFilter {
  /** Called by Nest. An error outside a request of a client is thrown again. */
  catch(exception: unknown): void {
    const { getError } = (exception ?? {}) as { getError?: unknown };
    const isWsException = typeof getError === 'function';
    const failure = isWsException ? toRequestError(getError.call(exception)) : exception;
    if (!setFailure(failure)) throw exception;
  }
}
