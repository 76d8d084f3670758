import { defineScript } from '../redis/script.js';
import claimNodeSource from './claim-node.lua';
import forgetUserSource from './forget-user.lua';
import readLeasesSource from './read-leases.lua';
import removeNodeSource from './remove-node.lua';
import renewLeaseSource from './renew-lease.lua';
import sweepOnlineSource from './sweep-online.lua';
import updateRoomsSource from './update-rooms.lua';
import updateUsersSource from './update-users.lua';

export const updateUsersScript = defineScript('update-users', updateUsersSource);
export const updateRoomsScript = defineScript('update-rooms', updateRoomsSource);
export const renewLeaseScript = defineScript('renew-lease', renewLeaseSource);
export const readLeasesScript = defineScript('read-leases', readLeasesSource);
export const claimNodeScript = defineScript('claim-node', claimNodeSource);
export const removeNodeScript = defineScript('remove-node', removeNodeSource);
export const sweepOnlineScript = defineScript('sweep-online', sweepOnlineSource);
export const forgetUserScript = defineScript('forget-user', forgetUserSource);
