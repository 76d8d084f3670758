import { systemClock } from '../internal/clock.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { ServiceContext } from '../pubsub/delivery.js';
import { DisposableStore } from '../pubsub/subscribe.js';
import {
  PROBE_INTERVAL,
  type SubscriptionManager,
  subscriptionManagerFor,
} from '../pubsub/subscription-manager.js';
import { ClientHandle } from '../redis/client-handle.js';
import { sharedClientFor } from '../redis/shared-client.js';
import { PartitionKeys } from './keys.js';
import { defaultPartitions, Layout } from './layout.js';
import { LeaseKeeper } from './lease-keeper.js';
import { PresenceNode } from './node.js';
import type { PresenceOptions } from './options.js';
import { OwnedSockets } from './owned-sockets.js';
import { PresenceReader } from './presence-reader.js';
import { PresenceStore } from './presence-store.js';
import { Reaper } from './reaper.js';
import { Rooms } from './rooms.js';
import type { PresenceSettings } from './settings.js';
import { Watches } from './watches.js';

/** The parts of a presence service. */
export interface PresenceParts {
  readonly link: ClientHandle;
  readonly hub: SubscriptionManager;
  readonly keys: readonly PartitionKeys[];
  readonly layout: Layout;
  readonly reporter: ErrorReporter;
  readonly audience: ServiceContext;
  readonly leaving: DisposableStore;
  readonly keeper: LeaseKeeper;
  readonly store: PresenceStore;
  readonly node: PresenceNode;
  readonly reader: PresenceReader;
  readonly reaper: Reaper;
  readonly watches: Watches;
  readonly rooms: Rooms;
}

/**
 * Builds the parts and connects them: the node writes through the store, which asks the keeper for
 * the node's id and shows it every lease; the reaper writes through the store as well.
 */
export function assemble(
  options: PresenceOptions,
  settings: PresenceSettings,
  life: { start(): Promise<void>; wiped(): void },
): PresenceParts {
  const { onError, clock = systemClock } = options;
  const reporter = new ErrorReporter(onError);
  const audience = new ServiceContext(reporter);
  const leaving = new DisposableStore();
  const session = sharedClientFor(options.redis);
  const link = new ClientHandle('PresenceService', session, settings.timeout, clock);
  const hub = subscriptionManagerFor(session, clock);
  hub.requestProbeInterval(PROBE_INTERVAL);
  const { partitions = defaultPartitions(session.capabilities.cluster), prefix } = settings;
  const keys = Array.from({ length: partitions }, (_, partition) => new PartitionKeys(prefix, partition));
  const layout = new Layout(link, prefix, keys);
  const owned = new OwnedSockets();
  const common = { ...settings, clock, link, hub, keys, layout, reporter, audience, leaving, owned };

  const keeper: LeaseKeeper = new LeaseKeeper({
    ...common,
    name: settings.nodeName,
    afterRenewal: () => node.repair(),
    onDoubt: (partition) => reaper.doubt(partition),
  });
  const nodeId = () => keeper.id;
  const store = new PresenceStore({
    ...common,
    statuses: settings.statusPriority,
    gate: () => life.start(),
    nodeId,
    leases: keeper,
  });
  keeper.attach(store);
  const node: PresenceNode = new PresenceNode({ ...common, keeper, store });
  const reader = new PresenceReader(link, keys);
  const reaper: Reaper = new Reaper({ ...common, store, nodeId, onWipe: () => life.wiped() });
  const watches = new Watches({ ...common, reader, channels: keys.map(({ events }) => events) });
  const rooms = new Rooms(common);
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
