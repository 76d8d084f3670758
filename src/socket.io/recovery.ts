import type { NamespaceBase } from './socket-io-types.js';

/** Socket.IO keeps a session for recovery after these reasons of `disconnect` only. */
const RECOVERABLE: ReadonlySet<string> = new Set([
  'transport error',
  'transport close',
  'forced close',
  'ping timeout',
  'server shutting down',
  'forced server close',
]);

/** Carries the state in `socket.data` to the recovering process. */
const KEY = '$rollcall';

/** State that survives a recovery. */
export interface RecoverableState {
  readonly status: string | undefined;
  readonly watching: readonly string[];
  /** Those of `watching` that the client has asked for. */
  readonly requested: readonly string[];
  readonly batch: boolean;
  readonly trackerId: string | undefined;
}

/** The state of a socket that was not recovered. */
export const NO_STATE: RecoverableState = {
  status: undefined,
  watching: [],
  requested: [],
  batch: false,
  trackerId: undefined,
};

/** Time in ms for a recovery; 0: the socket cannot recover. */
export function recoveryWindow(namespace: NamespaceBase, reason: string): number {
  if (!RECOVERABLE.has(reason)) return 0;
  const { server } = namespace as NamespaceBase & { server?: { opts?: unknown; _opts?: unknown } };
  const options = (server?._opts ?? server?.opts) as
    | { connectionStateRecovery?: { maxDisconnectionDuration?: unknown } | boolean }
    | undefined;
  const recovery = options?.connectionStateRecovery;
  if (typeof recovery !== 'object') return 0;
  const { maxDisconnectionDuration: duration } = recovery;
  return typeof duration === 'number' && duration > 0 ? duration : 0;
}

/** Call it before Socket.IO stores the session. */
export function saveState(data: unknown, state: RecoverableState): void {
  if (typeof data !== 'object' || data === null || !Object.isExtensible(data)) return;
  (data as Record<string, unknown>)[KEY] = {
    ...state,
    watching: [...state.watching],
    requested: [...state.requested],
  };
}

/** Checked, because it comes from the adapter's store. */
export function restoreState(data: unknown): RecoverableState {
  if (typeof data !== 'object' || data === null || !Object.hasOwn(data, KEY)) return NO_STATE;
  const record = data as Record<string, unknown>;
  const { status, watching, requested, batch, trackerId } = (record[KEY] ?? {}) as Record<
    keyof RecoverableState,
    unknown
  >;
  if (Object.isExtensible(data)) delete record[KEY];
  return {
    status: typeof status === 'string' ? status : undefined,
    watching: toStrings(watching),
    requested: toStrings(requested),
    batch: batch === true,
    trackerId: typeof trackerId === 'string' ? trackerId : undefined,
  };
}

function toStrings(given: unknown): string[] {
  return Array.isArray(given) ? given.filter((id): id is string => typeof id === 'string') : [];
}
