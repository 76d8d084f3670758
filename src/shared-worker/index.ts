export type { WebSocketConstructor, WebSocketLike } from '../client/platform.js';
export type { MessagePortLike } from './port-messages.js';
export { serveTabs } from './serve-tabs.js';
export { type SharedWebSocketOptions, type SharedWorkerLike, sharedWebSocket } from './shared-web-socket.js';
