// The names that guides leave to the reader, by page. test/mock/docs-code.test.ts imports them into the blocks of
// that page that do not declare them.

declare module 'docs/rooms.md' {
  export const rooms: import('rollcall').RoomService;
  export const wss: import('ws').WebSocketServer;
  export function userOf(request: import('node:http').IncomingMessage): Promise<string | null>;
  export function blockedBy(userId: string): Promise<Set<string>>;
  export function isMember(room: string, userId: string): Promise<boolean>;
  export const socket: import('rollcall').RoomSocket;
  export function areFriends(one: string, other: string): Promise<boolean>;
}

declare module 'docs/client.md' {
  export const rooms: import('rollcall').RoomService;
  export const authenticate: import('rollcall/ws').ServeOptions['authenticate'];
  export const authorize: import('rollcall/ws').ServeOptions['authorize'];
}

declare module 'docs/websockets.md' {
  export function findSession(
    cookie: string | undefined,
  ): Promise<{ user: string; end: Date; device: string } | null>;
  export function isMember(room: string, userId: string): Promise<boolean>;
  export function areFriends(one: string, other: string): Promise<boolean>;
  export function findUser(token: string | null): Promise<{ userId: string; expiresAt: Date } | null>;
  export function tokenOf(request: import('node:http').IncomingMessage): string | null;
  export const authorize: import('rollcall/ws').ServeOptions['authorize'];
  export function saveReceipt(userId: string, room: string, upTo: string): Promise<void>;
}

declare module 'docs/security.md' {
  export function findSession(
    cookie: string | undefined,
  ): Promise<{ user: string; tenant: string; end: Date } | null>;
  export function isMember(userId: string, tenant: string, room: string): Promise<boolean>;
  export function areFriends(one: string, other: string): Promise<boolean>;
}

declare module 'docs/servers.md' {
  export function findSession(cookie: string | undefined): Promise<{ user: string; end: Date } | null>;
  export function isMember(room: string, userId: string): Promise<boolean>;
}

declare module 'docs/crossws.md' {
  export const redis: import('rollcall').RedisClient;
  export function findUser(cookie: string | null): Promise<string | null>;
  export function isMember(room: string, userId: string): Promise<boolean>;
}

declare module 'docs/sse.md' {
  export const pubsub: import('rollcall').PubSubService;
  export function getToken(): Promise<string>;
  export function reload(channel: string | undefined, reason: string): void;
}

declare module 'docs/socket-io.md' {
  import type { Server, Socket } from 'socket.io';

  export const io: Server;
  export const tracker: import('rollcall/socket.io').PresenceTracker<Socket>;
  export const presence: import('rollcall').PresenceService;
  export const pubsub: import('rollcall').PubSubService;
  export function authenticate(token: unknown): string | undefined;
  export function mayRead(socket: Socket, room: string): boolean;
}

declare module 'docs/typing.md' {
  export const typing: import('rollcall').TypingService;
}

declare module 'docs/notifications.md' {
  export const notifications: import('rollcall').NotificationService;
  export const rooms: import('rollcall').RoomService;
  export const wss: import('ws').WebSocketServer;
  export const authenticate: import('rollcall/ws').ServeOptions['authenticate'];
}

/** The part of Express that the guides and examples use; Express has no types of its own. */
declare module 'express' {
  import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';

  interface Request extends IncomingMessage {
    readonly query: Readonly<Record<string, unknown>>;
    // biome-ignore lint/suspicious/noExplicitAny: Express derives the names from the path
    readonly params: any;
    // biome-ignore lint/suspicious/noExplicitAny: as in Express
    readonly body: any;
  }
  interface Response extends ServerResponse {
    status(code: number): this;
    set(name: string, value: string): this;
    json(body: unknown): this;
    sendStatus(code: number): this;
    // biome-ignore lint/suspicious/noExplicitAny: as in Express
    readonly locals: Record<string, any>;
  }
  type Next = (error?: unknown) => void;
  type Handler = (request: Request, response: Response, next: Next) => unknown;
  // biome-ignore lint/suspicious/noExplicitAny: as in Express
  type ErrorHandler = (error: any, request: Request, response: Response, next: Next) => unknown;
  interface App extends RequestListener {
    get(path: string, ...handlers: Handler[]): this;
    post(path: string, ...handlers: Handler[]): this;
    put(path: string, ...handlers: Handler[]): this;
    delete(path: string, ...handlers: Handler[]): this;
    use(handler: Handler | ErrorHandler): this;
    set(name: string, value: unknown): this;
    listen(port: number, host: string, listener: () => void): Server;
  }
  const express: {
    (): App;
    json(options?: { limit?: string }): Handler;
    static(folder: string): Handler;
  };

  export type { Request, Response };
  export default express;
}
