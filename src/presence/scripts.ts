import { defineScript } from '../redis/script.js';
import claimSource from './claim.lua';
import renewSource from './renew.lua';
import retireSource from './retire.lua';
import roomSource from './room.lua';
import settleSource from './settle.lua';
import surveySource from './survey.lua';

export const settleScript = defineScript('settle', settleSource);
export const roomScript = defineScript('room', roomSource);
export const renewScript = defineScript('renew', renewSource);
export const surveyScript = defineScript('survey', surveySource);
export const claimScript = defineScript('claim', claimSource);
export const retireScript = defineScript('retire', retireSource);
