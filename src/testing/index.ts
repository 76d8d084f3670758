export type { EmbeddedClient, EmbeddedRedis } from './embedded.js';
export { createEmbeddedRedis } from './embedded.js';
