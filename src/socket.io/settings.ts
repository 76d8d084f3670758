import { type Clock, clockOption } from '../internal/clock.js';
import { assertErrorListener, ErrorReporter } from '../internal/diagnostics.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { assertFunction, assertOptions, numberOption } from '../internal/validate.js';
import { assertVisible } from '../internal/viewer-filter.js';
import { defaultIdentify } from './identity.js';
import { TRACK_PRESENCE_OPTION_NAMES } from './option-names.js';
import type { RelayedPubSub, TrackedPresence, TrackPresenceOptions } from './options.js';
import type { SocketLike } from './socket-io-types.js';

/** In ms. */
const RECOVERY_GRACE = 30_000;

export interface TrackerSettings<S extends SocketLike> {
  readonly presence: TrackedPresence;
  readonly pubsub: RelayedPubSub | undefined;
  readonly identify: (socket: S) => unknown;
  readonly authorize: NonNullable<TrackPresenceOptions<S>['authorize']> | undefined;
  readonly visible: TrackPresenceOptions<S>['visible'];
  /** `undefined`: rooms are not tracked. */
  readonly roomOf: ((room: string, socket: S) => string | undefined) | undefined;
  readonly touch: boolean;
  readonly recoveryGrace: number;
  readonly maxWatched: number;
  readonly maxSubscriptions: number;
  readonly reporter: ErrorReporter;
  readonly clock: Clock;
}

/** @throws {@link InvalidArgumentError} with the option, its value and the rule. */
export function resolveSettings<S extends SocketLike>(options: TrackPresenceOptions<S>): TrackerSettings<S> {
  if (options === undefined)
    throw new InvalidArgumentError('options', 'must be an object with the option presence');
  assertOptions('options', options, TRACK_PRESENCE_OPTION_NAMES);
  const {
    presence,
    pubsub,
    identify = defaultIdentify,
    authorize,
    visible,
    onError,
    rooms,
    touch = true,
  } = options;
  assertFunction('presence.setPresence', presence?.setPresence);
  if (pubsub !== undefined) assertFunction('pubsub.subscribe', pubsub?.subscribe);
  assertFunction('identify', identify);
  if (authorize !== undefined) assertFunction('authorize', authorize);
  assertVisible(visible);
  assertErrorListener(onError);
  if (typeof touch !== 'boolean') throw new InvalidArgumentError('touch', 'must be true or false');
  return {
    presence,
    pubsub,
    identify,
    authorize,
    visible,
    roomOf: toRoomMapper(rooms),
    touch,
    recoveryGrace: numberOption('recoveryGrace', options.recoveryGrace, RECOVERY_GRACE, {
      min: 0,
      max: 86_400_000,
    }),
    maxWatched: numberOption('maxWatched', options.maxWatched, 1_000, { min: 0, integer: true }),
    maxSubscriptions: numberOption('maxSubscriptions', options.maxSubscriptions, 100, {
      min: 0,
      integer: true,
    }),
    reporter: new ErrorReporter(onError),
    clock: clockOption(options.clock),
  };
}

function toRoomMapper<S extends SocketLike>(
  rooms: TrackPresenceOptions<S>['rooms'],
): TrackerSettings<S>['roomOf'] {
  if (rooms === undefined || rooms === false) return undefined;
  if (rooms === true) return (room) => room;
  assertFunction('rooms', rooms);
  return (room, socket) => {
    const name: unknown = rooms(room, socket);
    if (name === true) return room;
    return typeof name === 'string' ? name : undefined;
  };
}
