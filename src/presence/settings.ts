import { assertErrorListener } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertOptions, booleanOption, numberOption, prefixOption } from '../internal/validate.js';
import type { LookupCacheSettings } from './lookup-cache.js';
import { defaultNodeName } from './node-lease.js';
import { LOOKUP_CACHE_OPTION_NAMES, PRESENCE_OPTION_NAMES } from './option-names.js';
import type { LookupCacheOptions, PresenceOptions } from './options.js';
import { assertStatus } from './validate.js';

/** Durations in ms. */
export interface PresenceSettings {
  readonly prefix: string;
  /** Undefined: the default of the topology. */
  readonly partitions: number | undefined;
  readonly nodeName: string;
  readonly grace: number;
  readonly lease: number;
  readonly renewInterval: number;
  readonly sweepInterval: number;
  readonly statusPriority: readonly string[];
  readonly idleAfter: number;
  readonly touchInterval: number;
  readonly maxSocketsPerUser: number;
  readonly maxMetaBytes: number;
  readonly keyTtl: number;
  readonly lastSeenTtl: number;
  readonly maxFailureRatio: number;
  readonly lookupCache: LookupCacheSettings | undefined;
  /** Undefined: sockets belong to their process. */
  readonly socketTtl: number | undefined;
  readonly background: boolean;
  readonly timeout: number;
}

const DAY = 86_400_000;

/** Two may fail before the lease expires. */
const RENEWALS_PER_LEASE = 3;

/** @throws {@link InvalidArgumentError} with the option, its value and the rule. */
export function resolveSettings(options: PresenceOptions): PresenceSettings {
  if (options === undefined)
    throw new InvalidArgumentError('options', 'must be an object with a redis client');
  assertOptions('options', options, PRESENCE_OPTION_NAMES);
  assertErrorListener(options.onError);
  const lease = numberOption('lease', options.lease, 30_000, { unit: 'ms', min: 500, max: DAY });
  const settings: PresenceSettings = {
    prefix: prefixOption('prefix', options.prefix, 'rollcall'),
    partitions: partitionsOption(options.partitions),
    nodeName: prefixOption('nodeName', options.nodeName, defaultNodeName()),
    grace: numberOption('grace', options.grace, 0, { unit: 'ms', min: 0, max: DAY }),
    lease,
    renewInterval: lease / RENEWALS_PER_LEASE,
    sweepInterval: numberOption('sweepInterval', options.sweepInterval, Math.min(1_000, lease / 4), {
      unit: 'ms',
      min: 10,
      max: DAY,
    }),
    statusPriority: statusPriorityOption(options.statusPriority),
    idleAfter: numberOption('idleAfter', options.idleAfter, 0, { unit: 'ms', min: 0, max: DAY }),
    touchInterval: numberOption('touchInterval', options.touchInterval, 60_000, {
      unit: 'ms',
      min: 0,
      max: DAY,
    }),
    maxSocketsPerUser: numberOption('maxSocketsPerUser', options.maxSocketsPerUser, 100, {
      min: 1,
      integer: true,
    }),
    maxMetaBytes: numberOption('maxMetaBytes', options.maxMetaBytes, 4_096, { min: 2, integer: true }),
    keyTtl: numberOption('keyTtl', options.keyTtl, 3_600_000, { unit: 'ms', min: 1_000, integer: true }),
    lastSeenTtl: numberOption('lastSeenTtl', options.lastSeenTtl, 7 * DAY, {
      unit: 'ms',
      min: 1,
      integer: true,
    }),
    maxFailureRatio: numberOption('maxFailureRatio', options.maxFailureRatio, 0.5, { min: 0, max: 1 }),
    lookupCache: lookupCacheOption(options.lookupCache),
    socketTtl: ttlOption('socketTtl', options.socketTtl),
    background: booleanOption('background', options.background, true),
    timeout: numberOption('timeout', options.timeout, 5_000, { unit: 'ms', min: 1, max: 600_000 }),
  };
  assertAtMost('sweepInterval', settings.sweepInterval, 'half of lease', lease / 2);
  assertGrace(settings, settings.grace);
  return settings;
}

/** Of users, or in rooms. Keys must not expire during a grace. */
export function assertGrace({ lease, keyTtl }: PresenceSettings, grace: number): void {
  assertAtMost('lease and grace together', lease + grace, 'a third of keyTtl', keyTtl / 3);
}

/** TTL of a socket without a process, in ms. */
export function ttlOption(name: string, value: unknown): number | undefined {
  if (value === undefined) return undefined;
  return numberOption(name, value, 0, { unit: 'ms', min: 500, max: DAY, integer: true });
}

function assertAtMost(name: string, value: number, limitName: string, limit: number): void {
  if (value > limit)
    throw new InvalidArgumentError(name, `must be at most ${limitName} (${limit}), not ${value}`);
}

function lookupCacheOption(value: LookupCacheOptions | undefined): LookupCacheSettings | undefined {
  if (value === undefined) return undefined;
  assertOptions('lookupCache', value, LOOKUP_CACHE_OPTION_NAMES);
  return {
    maxUsers: numberOption('lookupCache.maxUsers', value.maxUsers, 10_000, { min: 1, integer: true }),
    maxAge: numberOption('lookupCache.maxAge', value.maxAge, 60_000, { unit: 'ms', min: 0, max: DAY }),
  };
}

function partitionsOption(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  return numberOption('partitions', value, 1, { min: 1, max: 1_024, integer: true });
}

function statusPriorityOption(value: unknown): readonly string[] {
  if (value === undefined) return ['busy', 'online', 'away'];
  if (!Array.isArray(value) || value.length === 0) {
    throw new InvalidArgumentError('statusPriority', 'must be a non-empty array of statuses');
  }
  for (const status of value) assertStatus('statusPriority', status);
  if (new Set(value).size !== value.length)
    throw new InvalidArgumentError('statusPriority', 'names a status twice');
  return [...(value as string[])];
}
