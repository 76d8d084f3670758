// Constants and frames of a shared connection, for both sides: see docs/protocol.md.

/** Parameter of the URL that asks for a shared connection. */
export const SHARED_PARAMETER = 'shared';

/** The server's first message, without the number of a tab. */
export interface SharedFrame {
  readonly type: 'shared';
}

/** Limit of the tabs of one connection; tabs that have ended count until the server has detached their sockets. */
export const MAX_TABS = 100;
