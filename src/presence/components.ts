import { clockOption } from '../internal/clock.js';
import { ErrorReporter } from '../internal/diagnostics.js';
import { UnsupportedError } from '../internal/errors.js';
import { ServiceContext } from '../pubsub/service-context.js';
import { DisposableStore } from '../pubsub/subscribe.js';
import {
  PROBE_INTERVAL,
  type SubscriptionManager,
  subscriptionManagerFor,
} from '../pubsub/subscription-manager.js';
import { ClientHandle } from '../redis/client-handle.js';
import type { ChangeVerifier } from './change-verifier.js';
import { HiddenUsers } from './hidden-users.js';
import { unescapeId } from './ids.js';
import { Inbox } from './inbox.js';
import { PartitionKeys } from './keys.js';
import { LeaseRenewer } from './lease-renewer.js';
import { LocalPresence } from './local-presence.js';
import { LocalSockets, type SocketRef } from './local-sockets.js';
import { LookupCache } from './lookup-cache.js';
import { NodeLease } from './node-lease.js';
import { OnDemandSweep } from './on-demand-sweep.js';
import type { PresenceOptions } from './options.js';
import { defaultPartitions, PartitionLayout } from './partition-layout.js';
import { PresenceReader } from './presence-reader.js';
import { WatchRegistry } from './presence-watches.js';
import { PresenceWriter } from './presence-writer.js';
import { Reaper } from './reaper.js';
import { RedisClock } from './redis-clock.js';
import { RemovalLog } from './removal-log.js';
import { Restorer } from './restorer.js';
import { RoomGraces } from './room-graces.js';
import { RoomPresence } from './room-presence.js';
import type { PresenceSettings } from './settings.js';
import { Startup } from './startup.js';
import { TtlSockets } from './ttl-sockets.js';
import { UserData } from './user-data.js';

/** Receive sockets of this process whose users were disconnected. */
export type DisconnectHandlers = Set<(userId: string, socketId: string, reason: string) => unknown>;

export interface PresenceComponents {
  /** In ms. */
  readonly lease: number;
  readonly client: ClientHandle;
  readonly subscriptions: SubscriptionManager;
  readonly keys: readonly PartitionKeys[];
  readonly layout: PartitionLayout;
  readonly startup: Startup;
  readonly reporter: ErrorReporter;
  readonly context: ServiceContext;
  readonly disposables: DisposableStore;
  readonly nodeLease: NodeLease;
  readonly writer: PresenceWriter;
  readonly local: LocalPresence;
  readonly ttlSockets: TtlSockets;
  readonly onDemand: OnDemandSweep;
  readonly hidden: HiddenUsers;
  readonly removals: RemovalLog;
  readonly userData: UserData;
  readonly disconnects: DisconnectHandlers;
  /** Of the subscriptions to all changes. */
  readonly changeVerifiers: Set<ChangeVerifier>;
  readonly restorer: Restorer;
  readonly leaseRenewer: LeaseRenewer;
  readonly inbox: Inbox;
  readonly reader: PresenceReader;
  readonly lookupCache: LookupCache | undefined;
  readonly reaper: Reaper;
  readonly watches: WatchRegistry;
  readonly rooms: RoomPresence;
}

/** Each part knows only those created before it. */
export function createComponents(options: PresenceOptions, settings: PresenceSettings): PresenceComponents {
  const { onError } = options;
  const clock = clockOption(options.clock);
  const reporter = new ErrorReporter(onError);
  const context = new ServiceContext(reporter);
  const disposables = new DisposableStore();
  const client = ClientHandle.open('PresenceService', options.redis, settings.timeout, clock);
  const subscriptions = subscriptionManagerFor(client.shared, clock);
  if (settings.background) subscriptions.requestProbeInterval(PROBE_INTERVAL);
  if (settings.lookupCache !== undefined && client.capabilities.cluster) {
    void client.close();
    throw new UnsupportedError('lookupCache cannot be used on a Cluster: leave the option out');
  }
  const { partitions = defaultPartitions(client.capabilities.cluster), prefix } = settings;
  const keys = Array.from(
    { length: partitions },
    (_, partition) => new PartitionKeys(prefix, partition, client.database),
  );
  const redisClock = new RedisClock(clock);
  const layout = new PartitionLayout(client, prefix, keys, redisClock);
  const startup = new Startup(client, layout, settings.background);
  const shared = {
    ...settings,
    clock,
    client,
    subscriptions,
    keys,
    layout,
    startup,
    redisClock,
    reporter,
    context,
    disposables,
  };

  const localSockets = new LocalSockets();
  const nodeLease = new NodeLease(settings.nodeName);
  const hidden = new HiddenUsers({ localSockets, nodeLease });
  const roomGraces = new RoomGraces(localSockets, keys.length);
  const writer = new PresenceWriter({ ...shared, nodeLease, hidden, roomGraces });
  const disconnects: DisconnectHandlers = new Set();
  const onDisconnected = (socket: SocketRef, reason: string): void => {
    const [userId, socketId] = [unescapeId(socket.user), unescapeId(socket.socket)];
    for (const handler of disconnects) reporter.runHandler(() => handler(userId, socketId, reason), {});
  };
  const local = new LocalPresence({ ...shared, localSockets, nodeLease, writer, hidden, onDisconnected });
  const ttlSockets = new TtlSockets({ ...settings, writer, local });
  const removals = new RemovalLog({ ...shared, nodeLease, writer });
  const userData = new UserData({ ...shared, writer, removals });
  const inbox = new Inbox({ ...shared, nodeLease, local });
  const restorer = new Restorer({ ...shared, localSockets, nodeLease, writer, inbox });
  const leaseRenewer = new LeaseRenewer({
    ...shared,
    localSockets,
    nodeLease,
    writer,
    local,
    inbox,
    restorer,
  });

  const reaper = new Reaper({ ...shared, nodeLease, writer, roomGraces });
  const reader = new PresenceReader(client, keys, reporter);
  const onDemand = new OnDemandSweep({ client, keys, layout, writer, reporter });
  const { lookupCache: cacheSettings } = settings;
  const lookupCache =
    cacheSettings === undefined ? undefined : new LookupCache({ client, keys, reader, clock }, cacheSettings);
  const watches = new WatchRegistry({ ...shared, reader, channels: keys.map(({ events }) => events) });
  const rooms = new RoomPresence(shared);
  return {
    lease: settings.lease,
    client,
    subscriptions,
    keys,
    layout,
    startup,
    reporter,
    context,
    disposables,
    nodeLease,
    writer,
    local,
    ttlSockets,
    onDemand,
    hidden,
    removals,
    userData,
    disconnects,
    changeVerifiers: new Set(),
    restorer,
    leaseRenewer,
    inbox,
    reader,
    lookupCache,
    reaper,
    watches,
    rooms,
  };
}
