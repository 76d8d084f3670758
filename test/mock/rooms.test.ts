import { createEmbeddedRedis } from 'rollcall/testing';
import { roomsBehaviour } from '../shared/rooms-behaviour.js';

roomsBehaviour(
  'the embedded Redis',
  async () => {
    const redis = await createEmbeddedRedis();
    return { client: () => redis.connect(), end: () => redis.close() };
  },
  { embedded: true },
);
