import type { IncomingMessage } from 'node:http';
import crossws from 'crossws/adapters/node';
import type { Json, RoomService, RoomSocket } from 'rollcall';
import { type ConnectionHandlerOptions, type CrosswsHandle, serveCrossws } from 'rollcall/crossws';
import {
  type ClientRequest,
  type ConnectionHandler,
  type ConnectionIdentity,
  type ConnectionPeer,
  createConnectionHandler,
  type Handshake,
  type ServeStats,
} from 'rollcall/server';
import type { WebSocket } from 'ws';

// Only type-checked, never run.

/** True when A and B are the same type; `any` is the same only as itself. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ['these types differ', A, B]): void {}

declare const rooms: RoomService;
declare const socket: WebSocket;

// The request is a `Request` unless `authenticate` says otherwise.
const web = createConnectionHandler({
  rooms,
  authenticate: (request) => {
    same<typeof request, Request>();
    return request.headers.get('x-user');
  },
  authorize: (user, request) => {
    same<typeof user, ConnectionIdentity>();
    same<typeof request, ClientRequest>();
    return true;
  },
});
same<typeof web, ConnectionHandler<Request>>();

interface Account extends ConnectionIdentity {
  roles: string[];
}
const node = createConnectionHandler({
  rooms,
  authenticate: async ({ headers }: IncomingMessage): Promise<Account | null> =>
    headers.cookie === undefined ? null : { userId: 'ann', roles: [] },
  authorize: (user) => user.roles.includes('member'),
  requests: {
    hello: (socket, data, user) => {
      same<typeof socket, RoomSocket>();
      same<typeof data, Json>();
      same<typeof user, Account>();
    },
  },
  rateLimitKey: (user, request) => `${user.roles[0]} ${request.socket.remoteAddress}`,
});
same<typeof node, ConnectionHandler<IncomingMessage>>();

export async function use(request: IncomingMessage): Promise<ServeStats> {
  await using handler = node;
  const handshake = await handler.upgrade(request);
  same<typeof handshake, Handshake<IncomingMessage>>();
  // A socket of `ws` is a peer.
  handler.open(socket, handshake);
  handler.open(socket, { request });
  handler.message(socket, Buffer.from(''));
  handler.pong(socket, Buffer.from(''));
  await handler.shutdown({ drainPeriod: 1_000, handoff: true });
  if (handshake.rejection !== undefined) new Response(handshake.rejection.text, handshake.rejection);
  return handler.stats();
}

// The least that a peer has.
export const peer: ConnectionPeer = {
  send: (_frame: string) => true,
  close: (_code: number, _reason: string) => {},
};

// @ts-expect-error: not a request of this server
void web.upgrade({ url: '/', headers: {} } as IncomingMessage);
// @ts-expect-error: no such option
createConnectionHandler({ rooms, authenticate: () => 'ann', authorize: () => true, unknown: 1 });
// @ts-expect-error: a peer must be closable
web.open({ send: () => {} }, { request: new Request('http://chat.test') });

const serving = serveCrossws({
  rooms,
  authenticate: (request) => {
    same<typeof request, Request>();
    return null;
  },
  authorize: () => true,
});
same<typeof serving, CrosswsHandle>();
crossws({ hooks: serving.hooks });
export const options: ConnectionHandlerOptions = { rooms, authenticate: () => null, authorize: () => true };

// The helper rejects different types.
// @ts-expect-error
same<string, number>();
