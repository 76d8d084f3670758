import { AsyncLocalStorage } from 'node:async_hooks';
import type { PresenceService } from '../presence/presence-service.js';
import type { PresenceData } from '../presence/types.js';
import type { RoomSocket } from '../rooms/room-socket.js';
import type { ConnectionIdentity } from '../server/options.js';
import { toRequestError } from './exceptions.js';

/** A request whose handler runs. */
interface RunningRequest {
  failure?: unknown;
}

const running = new AsyncLocalStorage<RunningRequest>();

/** The client that handlers of gateways receive, e.g. by `@ConnectedSocket()`. */
export class GatewayClient<User extends ConnectionIdentity = ConnectionIdentity> {
  /** The attached connection: joins and leaves rooms, ends the connection. */
  readonly socket: RoomSocket;
  readonly #user: User;
  readonly #presence: PresenceService;

  /** @internal */
  constructor(socket: RoomSocket, user: User, presence: PresenceService) {
    this.socket = socket;
    this.#user = user;
    this.#presence = presence;
  }

  /** The result of `authenticate`; after `refresh` and `identify` that of the present user. */
  get user(): User {
    // A socket has one only after the handlers of the connection have run.
    return (this.socket.servedUser as User | undefined) ?? this.#user;
  }

  /** The presence of this client's user over all their connections; `null` once they are offline. */
  getPresence(): Promise<PresenceData | null> {
    return this.#presence.getPresence(this.socket.userId);
  }

  /**
   * Called by the exception filters of Nest: an `exception` answers the running request. Events for clients are sent with
   * `RoomService.broadcast`.
   */
  emit(event: string, payload: unknown): void {
    if (event === 'exception') setFailure(toRequestError(payload));
  }
}

/** The error answers the running request; without one it has no effect. */
export function setFailure(error: unknown): boolean {
  const request = running.getStore();
  if (request === undefined) return false;
  request.failure = error;
  return true;
}

/** Nest's callbacks do not reject: filters receive the error. */
export function runRequest(callback: () => Promise<unknown>): Promise<unknown> {
  const request: RunningRequest = {};
  return running.run(request, async () => {
    const result = await callback();
    if ('failure' in request) throw request.failure;
    return result;
  });
}
