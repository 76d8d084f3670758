// @ts-check

/**
 * Much shorter than the defaults, so that a crash shows on the page within seconds: a node that no
 * longer renews its lease is dead after `lease`, and its users are offline `grace` later. In
 * production take the default lease (30 s) and a grace of 5 to 10 s.
 */
export const LEASE = 3_000;
export const GRACE = 2_000;

/** All processes of one system must agree on these. */
export const presenceOptions = { prefix: 'rollcall-demo', lease: LEASE, grace: GRACE, timeout: 3_000 };
export const pubsubOptions = { prefix: 'rollcall-demo:', timeout: 3_000 };

export const NODES = ['node-1', 'node-2'];
export const STATUSES = ['online', 'away', 'busy'];

export const MAX_NAME_LENGTH = 40;
/** The largest list the page is sent; the count beside it is of everybody. */
export const MAX_LISTED = 100;
/** A WebSocket message of the page is a few dozen bytes. */
export const MAX_MESSAGE_BYTES = 1_024;
