import { createEmbeddedRedis } from 'rollcall/testing';
import { wsConnections } from '../shared/ws-connections-behaviour.js';
import { wsRequests } from '../shared/ws-requests-behaviour.js';

async function start() {
  const redis = await createEmbeddedRedis();
  return { client: () => redis.connect(), end: () => redis.close() };
}

wsRequests('the embedded Redis', start);
wsConnections('the embedded Redis', start);
