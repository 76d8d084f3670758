import { Redis as IoredisFive } from 'ioredis';
import { Redis as IoredisSix } from 'ioredis6';
import { disconnected, topologyBehaviour } from '../shared/topology-behaviour.js';

topologyBehaviour(
  'sentinels',
  { 'ioredis 6': ({ name, roots }) => disconnected(new IoredisSix({ sentinels: roots, name })) },
  { 'ioredis 5': ({ name, roots }) => disconnected(new IoredisFive({ sentinels: roots, name })) },
);
