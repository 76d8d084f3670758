/**
 * `ok`: as it should be. `note`: worth knowing. `unknown`: could not be checked. `warning` and `error`: exit status 1;
 * with an error, rollcall does not work as documented.
 */
export type Level = 'ok' | 'note' | 'unknown' | 'warning' | 'error';

/** One result of `doctor`. */
export interface Finding {
  readonly level: Level;
  /** Stable name of the check, for programs. */
  readonly check: string;
  readonly message: string;
  /** Advice. */
  readonly action?: string;
}

export function finding(level: Level, check: string, message: string, action?: string): Finding {
  return { level, check, message, ...(action === undefined ? {} : { action }) };
}
