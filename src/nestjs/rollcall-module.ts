import { InvalidArgumentError } from '../internal/errors.js';
import { assertFunction, assertOptions } from '../internal/validate.js';
import { PresenceService } from '../presence/presence-service.js';
import { PubSubService } from '../pubsub/pubsub-service.js';
import { RoomService } from '../rooms/room-service.js';
import { RollcallHealthIndicator } from './health-indicator.js';
import type { NestDynamicModule } from './nest-types.js';
import { ROLLCALL_MODULE_ASYNC_OPTION_NAMES } from './option-names.js';
import type { RollcallModuleAsyncOptions, RollcallModuleOptions } from './options.js';
import { RollcallHost } from './rollcall-host.js';

/** Token of the options. */
const OPTIONS = Symbol('RollcallModuleOptions');

/**
 * A global module of Nest. It provides `PubSubService`, `PresenceService`, `RoomService` and
 * {@link RollcallHealthIndicator}, whose classes are the tokens.
 *
 * When the application closes, it ends the connections of {@link RollcallAdapter} in `beforeApplicationShutdown`; in
 * `onApplicationShutdown` it closes the services, then the Redis client, if the module has created it.
 *
 * @example
 * ```ts
 * @Module({ imports: [RollcallModule.forRoot({ redis: () => createClient({ url }) })] })
 * export class AppModule {}
 * ```
 */
// biome-ignore lint/complexity/noStaticOnlyClass: Nest takes a class
export class RollcallModule {
  /** Invalid options reject the start of the application with an `InvalidArgumentError`. */
  static forRoot(options: RollcallModuleOptions): NestDynamicModule {
    return define([], { provide: OPTIONS, useValue: options });
  }

  /**
   * The same, with options that depend on other providers.
   *
   * @throws `InvalidArgumentError` for an unknown option.
   */
  static forRootAsync(options: RollcallModuleAsyncOptions): NestDynamicModule {
    assertOptions('options', options ?? null, ROLLCALL_MODULE_ASYNC_OPTION_NAMES);
    const { imports = [], inject = [], useFactory } = options;
    assertFunction('useFactory', useFactory);
    if (!Array.isArray(imports)) throw new InvalidArgumentError('imports', 'must be an array of modules');
    if (!Array.isArray(inject)) throw new InvalidArgumentError('inject', 'must be an array of tokens');
    return define(imports, { provide: OPTIONS, inject, useFactory });
  }
}

function define(imports: unknown[], options: object): NestDynamicModule {
  const fromHost = (provide: unknown, useFactory: (host: RollcallHost) => unknown) => ({
    provide,
    inject: [RollcallHost],
    useFactory,
  });
  const services = [
    fromHost(PubSubService, ({ rollcall }) => rollcall.pubsub),
    fromHost(PresenceService, ({ rollcall }) => rollcall.presence),
    fromHost(RoomService, ({ rollcall }) => rollcall.rooms),
    fromHost(RollcallHealthIndicator, ({ rollcall }) => new RollcallHealthIndicator(rollcall.pubsub)),
  ];
  return {
    module: RollcallModule,
    global: true,
    imports,
    providers: [
      options,
      {
        provide: RollcallHost,
        inject: [OPTIONS],
        useFactory: (given: RollcallModuleOptions) => RollcallHost.create(given),
      },
      ...services,
    ],
    exports: [RollcallHost, ...services.map(({ provide }) => provide)],
  };
}
