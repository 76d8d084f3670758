import { createServer } from 'node:http';
import { defineChannel, type PresenceService, type PubSubService, type Subscription } from 'rollcall';
import {
  type PresencePayload,
  type PresenceTracker,
  type PresenceTrackerRequest,
  type SocketLike,
  type TrackedPresence,
  trackPresence,
} from 'rollcall/socket.io';
import { type Namespace, Server, type Socket } from 'socket.io';

// Only type-checked, never run.

/** True when A and B are the same type; `any` is the same only as itself. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ['these types differ', A, B]): void {}

declare const presence: PresenceService;
declare const pubsub: PubSubService;

// Servers and namespaces, with and without event maps.
interface FromClients {
  say: (text: string, ack: (position: string) => void) => void;
  'presence:watch': (userIds: string[], ack: (answer: { users: PresencePayload[] }) => void) => void;
}
interface ToClients {
  said: (text: string) => void;
  'presence:changed': (news: PresencePayload) => void;
}
interface BetweenServers {
  ping: () => void;
}
interface Data {
  user: { id: number; name: string };
}
type TypedSocket = Socket<FromClients, ToClients, BetweenServers, Data>;

const plain = new Server(createServer());
const typed = new Server<FromClients, ToClients, BetweenServers, Data>();
const strict = new Server<FromClients, ToClients, Record<string, never>, Data>();
const namespace: Namespace<FromClients, ToClients, BetweenServers, Data> = typed.of('/chat');

const tracking = trackPresence(plain, { presence });
same<typeof tracking, PresenceTracker<Socket>>();
same<ReturnType<typeof trackPresence<TypedSocket>>, PresenceTracker<TypedSocket>>();
trackPresence(plain.of('/chat'), { presence, pubsub });
trackPresence(plain.of(/^\/room-\d+$/), { presence, rooms: true });
trackPresence(strict, { presence });
export const byNamespace: PresenceTracker<TypedSocket> = trackPresence(namespace, {
  presence,
  rooms: (room, socket) => {
    same<typeof room, string>();
    same<typeof socket.data, Data>();
    return room.startsWith('room:') && room.slice(5);
  },
});

// The functions of the application receive its own socket type.
const typedTracking = trackPresence(typed, {
  presence,
  identify: (socket) => {
    same<typeof socket.data, Data>();
    return { userId: String(socket.data.user.id), meta: { name: socket.data.user.name }, status: 'away' };
  },
  authorize: async (socket, request) => {
    same<typeof request, PresenceTrackerRequest>();
    return request.action === 'watch' && socket.data.user.name === request.userId;
  },
});
typed.on('connection', async (socket) => {
  same<Awaited<ReturnType<typeof typedTracking.watch>>, PresencePayload[]>();
  await typedTracking.watch(socket, ['ann']);
  await typedTracking.setStatus(socket, 'busy');
  const subscription = await typedTracking.subscribe(socket, 'news', { event: 'said', since: 'latest' });
  same<typeof subscription, Subscription>();
  await typedTracking.subscribe(socket, defineChannel<string>()('room:{id}')({ id: 'a' }));
});
export async function use(): Promise<void> {
  await using relay = await tracking.relay('news', { room: ['a', 'b'] });
  same<typeof relay, Subscription>();
  await using _ = tracking;
  const { close } = tracking;
  await close({ handoff: true });
}

// Test doubles do not need Socket.IO.
declare const double: TrackedPresence;
export const socketOf = (socket: Socket): SocketLike => socket;
trackPresence(plain, { presence: double });

// @ts-expect-error: the presence service is required
trackPresence(plain, {});
// @ts-expect-error: not a server
trackPresence(createServer(), { presence });
// @ts-expect-error: no such option
trackPresence(plain, { presence, unknown: 1 });
// @ts-expect-error: not a user
trackPresence(plain, { presence, identify: () => 1 });
// @ts-expect-error: sockets of another namespace are not accepted
typedTracking.watch(createServer(), []);

// The helper rejects different types.
// @ts-expect-error
same<string, number>();
