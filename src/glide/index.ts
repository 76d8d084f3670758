export { createGlideDriver } from './glide-driver.js';
export type { GlideAnyClient, GlideConfiguration, GlideDriverOptions } from './types.js';
