import type { RedisClient } from '../redis/detect.js';
import type { RollcallOptions } from '../rollcall.js';
import type { ConnectionIdentity, ServeCloseOptions } from '../server/options.js';
import type { ServeOptions } from '../ws/options.js';
import type { UpgradeServerLike } from './nest-types.js';

/** Options of `RollcallModule.forRoot`. */
export interface RollcallModuleOptions extends Omit<RollcallOptions, 'redis'> {
  /**
   * Your Redis client, which stays open when the application closes; or a function that creates one, which the module
   * then closes last.
   */
  redis: RedisClient | (() => RedisClient | Promise<RedisClient>);
  /**
   * The end of the gateways' connections when the application closes; with `handoff`, no user goes offline.
   * @default at once, without handoff
   */
  shutdown?: ServeCloseOptions;
}

/** Options of `RollcallModule.forRootAsync`. */
export interface RollcallModuleAsyncOptions {
  /** Modules that export the tokens of `inject`. @default none */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  imports?: any[];
  /** Tokens whose values `useFactory` receives. @default none */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  inject?: any[];
  /** Returns the options of `forRoot`. */
  // biome-ignore lint/suspicious/noExplicitAny: as in Nest
  useFactory: (...given: any[]) => RollcallModuleOptions | Promise<RollcallModuleOptions>;
}

/** Options of `RollcallAdapter`: those of `serveWebSocket`, without the ones that the gateways replace. */
export interface RollcallAdapterOptions<User extends ConnectionIdentity = ConnectionIdentity>
  extends Omit<ServeOptions<User>, 'rooms' | 'requests' | 'onConnect' | 'onDisconnect'> {
  /** Creates a `WebSocketServer` of `ws`, with `noServer: true`. Called once for each path of the gateways. */
  createServer: () => UpgradeServerLike;
}
