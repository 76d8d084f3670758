import { createServer } from 'node:http';
import type { RateLimiterRes } from 'rate-limiter-flexible';
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import type { Json, RoomService, RoomSocket } from 'rollcall';
import { TypingService } from 'rollcall';
import {
  type ClientAction,
  type ClientRequest,
  type ConnectionIdentity,
  type RateLimiter,
  RequestError,
  type ServeHandle,
  type ServeOptions,
  type ServerWebSocketLike,
  type ServeStats,
  serveWebSocket,
} from 'rollcall/ws';
import { WebSocket, WebSocketServer } from 'ws';

// Only type-checked, never run.

/** True when A and B are the same type; `any` is the same only as itself. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ['these types differ', A, B]): void {}

declare const rooms: RoomService;
declare const store: object;

// Servers of `ws`, and servers with a custom WebSocket class.
class OwnSocket extends WebSocket {
  readonly own = true;
}
const server = createServer();
const asked = { authenticate: () => 'ann', authorize: () => true };
serveWebSocket(new WebSocketServer({ server }), { rooms, ...asked });
serveWebSocket(new WebSocketServer({ noServer: true, perMessageDeflate: true }), { rooms, ...asked });
serveWebSocket(new WebSocketServer({ port: 0, WebSocket: OwnSocket }), { rooms, ...asked });
export const socketOf = (socket: WebSocket): ServerWebSocketLike => socket;

// The result of `authenticate` is the type that the other functions receive.
interface Account extends ConnectionIdentity {
  roles: string[];
}
const serving = serveWebSocket(new WebSocketServer({ server }), {
  rooms,
  authenticate: async (request): Promise<Account | undefined> => {
    same<typeof request.url, string | undefined>();
    return { userId: 'ann', roles: ['admin'], status: 'busy', meta: { from: 'x' }, expiresAt: new Date() };
  },
  authorize: async (user, request) => {
    same<typeof user, Account>();
    same<typeof request, ClientRequest>();
    same<typeof request.action, ClientAction>();
    switch (request.action) {
      case 'send':
        same<typeof request.data, Json>();
        return user.roles.includes(`${request.room}:${request.event}`);
      case 'watch':
        return user.roles.includes(request.userId);
      case 'status':
        return request.status !== 'busy';
      case 'request':
        return request.method === 'hello';
      default:
        return user.roles.includes(request.room);
    }
  },
  requests: {
    hello: (socket, data, user) => {
      same<typeof socket, RoomSocket>();
      same<typeof data, Json>();
      same<typeof user, Account>();
      if (data === null) throw new RequestError('FORBIDDEN', 'no', 1_000);
    },
  },
  typing: new TypingService({ rooms }),
  rateLimit: new RateLimiterMemory({ points: 10, duration: 1 }),
  rateLimitKey: (user, request) => `${user.roles[0]} ${request.socket.remoteAddress}`,
});
same<typeof serving, ServeHandle>();
same<ReturnType<typeof serving.stats>, ServeStats>();
export const limiter: RateLimiter = new RateLimiterRedis({ storeClient: store, points: 1, duration: 1 });
same<Awaited<ReturnType<RateLimiterMemory['consume']>>, RateLimiterRes>();

export async function use(): Promise<void> {
  await using _ = serving;
  await serving.close({ drainPeriod: 10_000, handoff: true });
}
export const options: ServeOptions = { rooms, ...asked, refuseWith: 'status' };

// @ts-expect-error: `authenticate` is required
serveWebSocket(new WebSocketServer({ server }), { rooms, authorize: () => true });
// @ts-expect-error: `authorize` is required
serveWebSocket(new WebSocketServer({ server }), { rooms, authenticate: () => 'ann' });
// @ts-expect-error: not a WebSocket server
serveWebSocket(createServer(), { rooms, ...asked });
// @ts-expect-error: not a user
serveWebSocket(new WebSocketServer({ server }), { rooms, authorize: () => true, authenticate: () => 7 });
// @ts-expect-error: no such option
serveWebSocket(new WebSocketServer({ server }), { rooms, ...asked, unknown: 1 });
// @ts-expect-error: no such code
new RequestError('TEAPOT', 'x');

// The helper rejects different types.
// @ts-expect-error
same<string, number>();
