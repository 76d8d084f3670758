// Apart, so that bundles for browsers have only the codes that they use.
export const PROTOCOL_ERROR = 4400;
export const UNAUTHENTICATED = 4401;
export const DISCONNECTED = 4403;
export const UNAVAILABLE = 4500;
export const EXPIRED = 4501;
export const SERVICE_RESTART = 1012;

/**
 * Why a server closes a connection. Clients do not reconnect after 4400 to 4499, because the same would happen
 * again. They reconnect after a back-off for 4500 to 4599, 1001 (going away), 1012 (service restart) and 1013
 * (try again later).
 */
export const CloseCode = {
  /** Too many malformed frames. */
  PROTOCOL_ERROR,
  /** The credentials are missing or invalid. */
  UNAUTHENTICATED,
  /** The server called `disconnectUser`. */
  DISCONNECTED,
  /** The user has reached `maxSocketsPerUser`. */
  TOO_MANY_SOCKETS: 4409,
  /** The server failed, or Redis is unavailable. */
  UNAVAILABLE,
  /** Reconnect with new credentials. */
  EXPIRED,
  /** The client read too slowly; it catches up after the reconnect. */
  SLOW_CONSUMER: 4508,
  /** The client sent too much. */
  RATE_LIMITED: 4529,
  /** The server restarts (registered code). */
  SERVICE_RESTART,
} as const;

/** Whether a client should reconnect after this close code. */
export function shouldReconnect(code: number): boolean {
  // 44xx: the same would happen again. 1000: normal closure. The others: an error of the client, which would happen again.
  return !/^(44..|100[02378]|1010)$/.test(String(code));
}
