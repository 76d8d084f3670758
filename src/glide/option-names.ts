import type { OptionNames } from '../internal/validate.js';
import type { GlideDriverOptions } from './types.js';

// The compiler keeps these names complete, so that a misspelt option is rejected.

export const GLIDE_OPTION_NAMES: OptionNames<GlideDriverOptions> = {
  checkInterval: true,
};
