export type { StateListener } from '../redis/connection-state.js';
export { ConnectionState } from '../redis/connection-state.js';
export type {
  Capabilities,
  Command,
  Driver,
  DriverListener,
  DriverSubscribeOptions,
  ExecuteOptions,
  Payload,
  PlainCommand,
  Reply,
  Script,
  ScriptCall,
  SubscriptionKind,
} from '../redis/driver.js';
export { ALL_CAPABILITIES, isScriptCall } from '../redis/driver.js';
export { isServerError, toRollcallError } from '../redis/replies.js';
export { ScriptRunner } from '../redis/script.js';
export type {
  PubSubConnection,
  PubSubConnectionFactory,
  PubSubConnectionListener,
} from '../redis/subscriber.js';
export { Subscriber } from '../redis/subscriber.js';
