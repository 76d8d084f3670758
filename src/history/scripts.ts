import { defineScript } from '../redis/script.js';
import appendSource from './append.lua';
import readSource from './read.lua';

/** Appends and publishes; see append.lua. */
export const appendScript = defineScript('append', appendSource);
/** Reads a page; see read.lua. */
export const readScript = defineScript('read', readSource);
