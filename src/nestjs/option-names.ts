import type { OptionNames } from '../internal/validate.js';
import { CONNECTION_HANDLER_OPTION_NAMES } from '../server/option-names.js';
import type { RollcallAdapterOptions, RollcallModuleAsyncOptions } from './options.js';

// The compiler keeps these names complete, so that a misspelt option is rejected.

export const ROLLCALL_MODULE_ASYNC_OPTION_NAMES: OptionNames<RollcallModuleAsyncOptions> = {
  imports: true,
  inject: true,
  useFactory: true,
};

const { rooms, requests, onConnect, onDisconnect, ...served } = CONNECTION_HANDLER_OPTION_NAMES;

export const ROLLCALL_ADAPTER_OPTION_NAMES: OptionNames<RollcallAdapterOptions> = {
  ...served,
  createServer: true,
};
