import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../internal/clock.js';
import { createRollcall, type ForgetResult } from '../rollcall.js';
import type { CliConnection } from './cli-connection.js';
import type { CliCommand, CommandContext } from './command.js';
import { confirm } from './confirm.js';
import { countOf, formatDuration, printable } from './output.js';
import { ROOM_SERVICE_OPTIONS } from './user-channel.js';
import { nameArgument, numberOption, pubsubPrefix } from './values.js';

/** In ms, `PresenceService`'s own. */
const DEFAULT_LEASE = 30_000;
/** In ms: the bounds of `PresenceService`. */
const MIN_LEASE = 500;
const MAX_LEASE = 86_400_000;
/** Between calls, in ms. */
const RETRY_INTERVAL = 1_000;
/** In ms: longer than a call, where the lease allows it. This process must not derive statuses by its own options. */
const SWEEP_INTERVAL = 15_000;
/** In ms. `PresenceService` asks for three leases at least. */
const KEY_TTL = 3_600_000;

export const forget: CliCommand = {
  name: 'forget',
  args: ['USER'],
  summary: 'removes everything that is stored of a user, and closes their connections; asks first',
  changes: true,
  options: {
    lease: { type: 'string', help: 'lease of your PresenceService, in ms (default: 30000)' },
    wait: { type: 'string', help: 'for how many ms to repeat it until nothing remains (default: 0)' },
    reason: { type: 'string', help: 'the reason of the close frame (default: none)' },
    'keep-sockets': { type: 'boolean', help: 'leave the user connected; presence and rooms stay, too' },
    'messages-in': {
      type: 'string',
      multiple: true,
      help: 'remove the messages from the user in the history of this room; may be repeated',
    },
    yes: { type: 'boolean', help: 'do not ask' },
    'pubsub-prefix': ROOM_SERVICE_OPTIONS['pubsub-prefix'] as CliCommand['options'][string],
  },
  async run({ open, output, args, values }) {
    const userId = nameArgument('USER', args[0]);
    const lease = numberOption('lease', values['lease'], DEFAULT_LEASE, MIN_LEASE, MAX_LEASE);
    const wait = numberOption('wait', values['wait'], 0, 0);
    const connections = values['keep-sockets'] === true ? '' : ' and close their connections';
    const question = `Remove everything that is stored of ${printable(userId)}${connections}?`;
    await confirm(question, values['yes'] === true);
    const connection = await open();
    // A wrong prefix must not look like an unknown user.
    const { layout } = await connection.requirePresence();
    const end = systemClock.now() + wait;
    let result = await forgetOnce(connection, userId, { lease, values, partitions: layout.partitions });
    while (!result.complete && systemClock.now() < end) {
      await sleep(Math.min(RETRY_INTERVAL, end - systemClock.now()));
      const next = await forgetOnce(connection, userId, { lease, values, partitions: layout.partitions });
      result = merge(result, next);
    }
    output.print({ userId, ...result }, () => describe(userId, result, lease));
    return result.complete ? 0 : 1;
  },
};

interface ForgetSettings {
  readonly lease: number;
  readonly values: CommandContext['values'];
  readonly partitions: number;
}

/** With services of its own, which end before the first sweep. */
async function forgetOnce(
  { client, prefix, timeout }: CliConnection,
  userId: string,
  { lease, values, partitions }: ForgetSettings,
): Promise<ForgetResult> {
  const rollcall = createRollcall({
    redis: client,
    timeout,
    onError: null,
    presence: {
      prefix,
      partitions,
      lease,
      nodeName: 'rollcall-cli',
      sweepInterval: Math.min(SWEEP_INTERVAL, lease / 2),
      keyTtl: Math.max(KEY_TTL, 3 * lease),
    },
    pubsub: { prefix: pubsubPrefix(values), probeInterval: 0 },
  });
  try {
    return await rollcall.forget(userId, {
      keepSockets: values['keep-sockets'] === true,
      reason: String(values['reason'] ?? ''),
      messagesIn: (values['messages-in'] ?? []) as string[],
    });
  } finally {
    await rollcall.close();
  }
}

/** The entries that either of two calls removed, and the rest after the later one. */
function merge(earlier: ForgetResult, later: ForgetResult): ForgetResult {
  return {
    record: earlier.record || later.record,
    status: earlier.status || later.status,
    sockets: earlier.sockets + later.sockets,
    rooms: [...new Set([...earlier.rooms, ...later.rooms])],
    messages: earlier.messages || later.messages,
    notifications: earlier.notifications || later.notifications,
    readMarker: earlier.readMarker || later.readMarker,
    removedMessages: earlier.removedMessages + later.removedMessages,
    remaining: later.remaining,
    complete: later.complete,
  };
}

function describe(userId: string, result: ForgetResult, lease: number): string[] {
  const name = printable(userId);
  const removed = [
    ...(result.sockets > 0 ? [countOf(result.sockets, 'socket')] : []),
    ...(result.record ? ['the record'] : []),
    ...(result.status ? ['their own status'] : []),
    ...(result.rooms.length > 0 ? [countOf(result.rooms.length, 'room')] : []),
    ...(result.messages ? ['messages'] : []),
    ...(result.notifications ? ['notifications'] : []),
    ...(result.readMarker ? ['the read marker'] : []),
    ...(result.removedMessages > 0 ? [`${countOf(result.removedMessages, 'message')} in rooms`] : []),
  ];
  const first =
    removed.length === 0 ? `${name}: nothing was stored` : `${name}: removed ${removed.join(', ')}`;
  const { sockets, removals } = result.remaining;
  if (sockets > 0) {
    return [
      first,
      `${countOf(sockets, 'socket')} ${sockets === 1 ? 'is' : 'are'} still connected: run it again when the user has disconnected`,
    ];
  }
  if (removals > 0) {
    return [
      first,
      `the removal of ${countOf(removals, 'socket')} is remembered for ${formatDuration(lease)} (--lease): run it again after that, or pass --wait`,
    ];
  }
  return [first];
}
