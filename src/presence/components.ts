import { systemClock } from '../internal/clock.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { ServiceContext } from '../pubsub/service-context.js';
import { DisposableStore } from '../pubsub/subscribe.js';
import {
  PROBE_INTERVAL,
  type SubscriptionManager,
  subscriptionManagerFor,
} from '../pubsub/subscription-manager.js';
import { ClientHandle } from '../redis/client-handle.js';
import { PartitionKeys } from './keys.js';
import { LocalPresence } from './local-presence.js';
import { LocalSockets } from './local-sockets.js';
import { NodeLease } from './node-lease.js';
import type { PresenceOptions } from './options.js';
import { defaultPartitions, PartitionLayout } from './partition-layout.js';
import { PresenceReader } from './presence-reader.js';
import { WatchRegistry } from './presence-watches.js';
import { PresenceWriter } from './presence-writer.js';
import { Reaper } from './reaper.js';
import { RoomPresence } from './room-presence.js';
import type { PresenceSettings } from './settings.js';

/** The parts of a presence service. */
export interface PresenceComponents {
  readonly client: ClientHandle;
  readonly subscriptions: SubscriptionManager;
  readonly keys: readonly PartitionKeys[];
  readonly layout: PartitionLayout;
  readonly reporter: ErrorReporter;
  readonly context: ServiceContext;
  readonly disposables: DisposableStore;
  readonly nodeLease: NodeLease;
  readonly writer: PresenceWriter;
  readonly local: LocalPresence;
  readonly reader: PresenceReader;
  readonly reaper: Reaper;
  readonly watches: WatchRegistry;
  readonly rooms: RoomPresence;
}

/**
 * Builds the parts and connects them: the node writes through the store, which asks the keeper for
 * the node's id and shows it every lease; the reaper writes through the store as well.
 */
export function createComponents(
  options: PresenceOptions,
  settings: PresenceSettings,
  life: { start(): Promise<void>; wiped(): void },
): PresenceComponents {
  const { onError, clock = systemClock } = options;
  const reporter = new ErrorReporter(onError);
  const context = new ServiceContext(reporter);
  const disposables = new DisposableStore();
  const client = ClientHandle.open('PresenceService', options.redis, settings.timeout, clock);
  const subscriptions = subscriptionManagerFor(client.shared, clock);
  subscriptions.requestProbeInterval(PROBE_INTERVAL);
  const { partitions = defaultPartitions(client.capabilities.cluster), prefix } = settings;
  const keys = Array.from({ length: partitions }, (_, partition) => new PartitionKeys(prefix, partition));
  const layout = new PartitionLayout(client, prefix, keys);
  const owned = new LocalSockets();
  const common = {
    ...settings,
    clock,
    client,
    subscriptions,
    keys,
    layout,
    reporter,
    context,
    disposables,
    owned,
  };

  const nodeLease: NodeLease = new NodeLease({
    ...common,
    name: settings.nodeName,
    afterRenewal: () => local.repair(),
    onDoubt: (partition) => reaper.suspend(partition),
  });
  const nodeId = () => nodeLease.id;
  const writer = new PresenceWriter({
    ...common,
    statuses: settings.statusPriority,
    ready: () => life.start(),
    nodeId,
    leases: nodeLease,
  });
  nodeLease.attach(writer);
  const local: LocalPresence = new LocalPresence({ ...common, nodeLease, writer });
  const reader = new PresenceReader(client, keys);
  const reaper: Reaper = new Reaper({ ...common, writer, nodeId, onWipe: () => life.wiped() });
  const watches = new WatchRegistry({ ...common, reader, channels: keys.map(({ events }) => events) });
  const rooms = new RoomPresence(common);
  return {
    client,
    subscriptions,
    keys,
    layout,
    reporter,
    context,
    disposables,
    nodeLease,
    writer,
    local,
    reader,
    reaper,
    watches,
    rooms,
  };
}
