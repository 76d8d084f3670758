import type { RoomSocket } from '../rooms/room-socket.js';
import type { AuthenticatedUser } from './identity.js';
import type { ServeOptions, WebSocketIdentity } from './options.js';

/** What the requests of one connection are carried out with, and what they leave behind. */
export interface RequestContext<User extends WebSocketIdentity> {
  readonly options: ServeOptions<User>;
  readonly known: AuthenticatedUser<User>;
  readonly socket: RoomSocket;
  readonly maxRooms: number;
  readonly maxWatched: number;
  /** Rooms that it is on its way into. */
  readonly joining: Map<string, Promise<unknown>>;
  /** Whom it watches. */
  readonly watched: Set<string>;
  /** Where it has said that the user types. */
  readonly typing: Set<string>;
  /** Pages of history are read one after the other, or they would fill the memory at once. */
  reading: Promise<unknown>;
}

/** Where the user types on this connection, he has stopped: it is gone. */
export async function stopTyping<User extends WebSocketIdentity>({
  options,
  socket,
  typing,
}: RequestContext<User>): Promise<void> {
  const stop = (room: string) => options.typing?.stop(room, socket.userId, { except: socket.id });
  await Promise.all(Array.from(typing, stop));
}
