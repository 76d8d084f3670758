export { RollcallExceptionFilter } from './exception-filter.js';
export { GatewayClient } from './gateway-client.js';
export { RollcallHealthIndicator, type RollcallHealthResult } from './health-indicator.js';
export type {
  NestApplicationLike,
  NestDynamicModule,
  NestMessageHandler,
  NestObservable,
  UpgradeServerLike,
} from './nest-types.js';
export type {
  RollcallAdapterOptions,
  RollcallModuleAsyncOptions,
  RollcallModuleOptions,
} from './options.js';
export { Presence } from './presence-decorator.js';
export { type GatewayServer, RollcallAdapter } from './rollcall-adapter.js';
export { RollcallModule } from './rollcall-module.js';
