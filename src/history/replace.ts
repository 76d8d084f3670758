import type { ScriptCall } from '../redis/driver.js';
import { defineScript } from '../redis/script.js';
import { historyKeys } from './keys.js';
import type { Position } from './position.js';
import replaceSource from './replace.lua';

const replaceScript = defineScript('replace', replaceSource);

/** Replies with the number of messages whose payload was replaced. */
export function replaceCall(channel: string, positions: readonly Position[], payload: string): ScriptCall {
  return { script: replaceScript, keys: [historyKeys(channel).messages], args: [payload, ...positions] };
}
