import type { NamespaceBase } from './socket-io-types.js';

/**
 * The reasons of a disconnection after which Socket.IO keeps the session, where it keeps sessions at all;
 * with any other one, such as either side's `disconnect()`, it is over.
 */
const RECOVERABLE: ReadonlySet<string> = new Set([
  'transport error',
  'transport close',
  'forced close',
  'ping timeout',
  'server shutting down',
  'forced server close',
]);

/** Under which name a session carries what has to survive its recovery, by whichever process. */
const KEY = '$rollcall';

/** What survives. */
export interface RecoverableState {
  readonly status: string | undefined;
  readonly watching: readonly string[];
}

/** For how many ms a socket that was disconnected for `reason` can be recovered; 0 if it can't. */
export function recoveryWindow(space: NamespaceBase, reason: string): number {
  if (!RECOVERABLE.has(reason)) return 0;
  const { server } = space as NamespaceBase & { server?: { opts?: unknown; _opts?: unknown } };
  const options = (server?._opts ?? server?.opts) as
    | { connectionStateRecovery?: { maxDisconnectionDuration?: unknown } | boolean }
    | undefined;
  const recovery = options?.connectionStateRecovery;
  if (typeof recovery !== 'object') return 0;
  const { maxDisconnectionDuration: duration } = recovery;
  return typeof duration === 'number' && duration > 0 ? duration : 0;
}

/** Puts `carried` into the session, just before Socket.IO keeps it. */
export function saveState(data: unknown, carried: RecoverableState): void {
  if (typeof data !== 'object' || data === null || !Object.isExtensible(data)) return;
  (data as Record<string, unknown>)[KEY] = { ...carried, watching: [...carried.watching] };
}

/** Takes it out again; all of it has been through the adapter's store. */
export function restoreState(data: unknown): RecoverableState {
  const none: RecoverableState = { status: undefined, watching: [] };
  if (typeof data !== 'object' || data === null || !Object.hasOwn(data, KEY)) return none;
  const record = data as Record<string, unknown>;
  const { status, watching } = (record[KEY] ?? {}) as { status?: unknown; watching?: unknown };
  if (Object.isExtensible(data)) delete record[KEY];
  return {
    status: typeof status === 'string' ? status : undefined,
    watching: Array.isArray(watching) ? watching.filter((id): id is string => typeof id === 'string') : [],
  };
}
