// @ts-check

/** @param {number} n */
export const userOf = (n) => `user-${String(n).padStart(7, '0')}`;
/** @param {number} n */
export const socketOf = (n) => `socket-${String(n).padStart(13, '0')}`;
