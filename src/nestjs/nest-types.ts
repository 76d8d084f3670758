import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ServerWebSocketLike, WebSocketServerLike } from '../ws/ws-types.js';

// By shape, so that Nest is not needed for the types, and every version with these members fits.

/** A `DynamicModule` of Nest. */
export interface NestDynamicModule {
  /** The class of the module. */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  module: any;
  /** True: its exports need no import in other modules. */
  global: boolean;
  /** Modules that export what `inject` names. */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  imports: any[];
  /** Providers of the module. */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  providers: any[];
  /** Tokens for other modules. */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  exports: any[];
}

/** The part of an `INestApplication` that {@link RollcallAdapter} uses. */
export interface NestApplicationLike {
  /** Returns a provider. */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  get(token: any, options?: any): any;
  /** The HTTP server of the application. */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  getHttpServer(): any;
}

/** A handler of `@SubscribeMessage`, as Nest passes it to an adapter. */
export interface NestMessageHandler {
  /** The name of the message. */
  // biome-ignore lint/suspicious/noExplicitAny: a name, or in Nest any pattern
  message: any;
  /** Runs guards, pipes, interceptors and the handler. */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  callback: (...given: any[]) => any;
  /** The handler has a parameter with `@Ack()`. */
  isAckHandledManually?: boolean;
}

/** The part of an `Observable` of rxjs that is used. */
export interface NestObservable {
  /** Receives the values, then the end. */
  subscribe(observer: {
    /** A value. */
    next(value: unknown): void;
    /** Ends with an error. */
    error(error: unknown): void;
    /** Ends. */
    complete(): void;
  }): unknown;
}

/** The part of a `WebSocketServer` of `ws` with `noServer: true` that is used. */
export interface UpgradeServerLike extends WebSocketServerLike {
  /** Answers the handshake. */
  handleUpgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    callback: (socket: ServerWebSocketLike, request: IncomingMessage) => void,
  ): void;
  /** Reports the connection to the listeners. */
  emit(event: 'connection', socket: ServerWebSocketLike, request: IncomingMessage): unknown;
  /** Ends the server. */
  close(callback?: (error?: Error) => void): unknown;
}
