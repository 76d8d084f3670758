export type { ChaosDriver, CommandKind, Fault } from './chaos-driver.js';
export { createChaosDriver } from './chaos-driver.js';
export type { DriverCase, DriverUnderTest } from './driver-conformance.js';
export { driverConformanceCases } from './driver-conformance.js';
export type { EmbeddedClient, EmbeddedRedis } from './embedded.js';
export { createEmbeddedRedis } from './embedded.js';
