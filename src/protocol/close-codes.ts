/**
 * Why a server ends a connection; the number alone tells a client whether to come back. From 4400 to
 * 4499: no, the same would happen again. From 4500 to 4599, and what the WebSocket standard calls
 * going away (1001), restart (1012) and overload (1013): yes, after a while.
 */
export const CloseCode = {
  /** Malformed frames, again and again. */
  PROTOCOL_ERROR: 4400,
  /** Nobody the server knows: the credentials are missing or wrong. */
  UNAUTHENTICATED: 4401,
  /** Sent away by `disconnectUser`. */
  DISCONNECTED: 4403,
  /** The user has as many sockets as he may have. */
  TOO_MANY_SOCKETS: 4409,
  /** The server failed, or Redis is away. */
  UNAVAILABLE: 4500,
  /** The credentials have run out: come back with new ones. */
  EXPIRED: 4501,
  /** Read too slowly; what was missed can be had on return. */
  SLOW_CONSUMER: 4508,
  /** Sent too much. */
  RATE_LIMITED: 4529,
  /** The server restarts; standard. */
  SERVICE_RESTART: 1012,
} as const;

/** Whether a client whose connection ended with `code` should come back. */
export function shouldReconnect(code: number): boolean {
  if (code >= 4000) return code < 4400 || code >= 4500;
  // 1000: done. 1002, 1003, 1007, 1008, 1010: this client is at fault, and would be again.
  return ![1000, 1002, 1003, 1007, 1008, 1010].includes(code);
}
