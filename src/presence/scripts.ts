import { defineScript } from '../redis/script.js';
import claimSource from './claim-node.lua';
import surveySource from './read-leases.lua';
import retireSource from './remove-node.lua';
import renewSource from './renew-lease.lua';
import sweepOnlineSource from './sweep-online.lua';
import roomSource from './update-rooms.lua';
import settleSource from './update-users.lua';

export const updateUsersScript = defineScript('settle', settleSource);
export const updateRoomsScript = defineScript('room', roomSource);
export const renewLeaseScript = defineScript('renew', renewSource);
export const readLeasesScript = defineScript('survey', surveySource);
export const claimNodeScript = defineScript('claim', claimSource);
export const removeNodeScript = defineScript('retire', retireSource);
export const sweepOnlineScript = defineScript('sweep-online', sweepOnlineSource);
