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
  readonly link: ClientHandle;
  readonly hub: SubscriptionManager;
  readonly keys: readonly PartitionKeys[];
  readonly layout: PartitionLayout;
  readonly reporter: ErrorReporter;
  readonly audience: ServiceContext;
  readonly leaving: DisposableStore;
  readonly keeper: NodeLease;
  readonly store: PresenceWriter;
  readonly node: LocalPresence;
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
  const audience = new ServiceContext(reporter);
  const leaving = new DisposableStore();
  const link = ClientHandle.open('PresenceService', options.redis, settings.timeout, clock);
  const hub = subscriptionManagerFor(link.shared, clock);
  hub.requestProbeInterval(PROBE_INTERVAL);
  const { partitions = defaultPartitions(link.capabilities.cluster), prefix } = settings;
  const keys = Array.from({ length: partitions }, (_, partition) => new PartitionKeys(prefix, partition));
  const layout = new PartitionLayout(link, prefix, keys);
  const owned = new LocalSockets();
  const common = { ...settings, clock, link, hub, keys, layout, reporter, audience, leaving, owned };

  const keeper: NodeLease = new NodeLease({
    ...common,
    name: settings.nodeName,
    afterRenewal: () => node.repair(),
    onDoubt: (partition) => reaper.suspend(partition),
  });
  const nodeId = () => keeper.id;
  const store = new PresenceWriter({
    ...common,
    statuses: settings.statusPriority,
    ready: () => life.start(),
    nodeId,
    leases: keeper,
  });
  keeper.attach(store);
  const node: LocalPresence = new LocalPresence({ ...common, keeper, store });
  const reader = new PresenceReader(link, keys);
  const reaper: Reaper = new Reaper({ ...common, store, nodeId, onWipe: () => life.wiped() });
  const watches = new WatchRegistry({ ...common, reader, channels: keys.map(({ events }) => events) });
  const rooms = new RoomPresence(common);
  return {
    link,
    hub,
    keys,
    layout,
    reporter,
    audience,
    leaving,
    keeper,
    store,
    node,
    reader,
    reaper,
    watches,
    rooms,
  };
}
