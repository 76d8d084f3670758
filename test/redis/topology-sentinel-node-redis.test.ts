import { createSentinel } from 'redis';
import { createSentinel as createSentinelFive } from 'redis5';
import { destroyed, topologyBehaviour } from '../shared/topology-behaviour.js';

topologyBehaviour(
  'sentinels',
  { 'node-redis 6': ({ name, roots }) => destroyed(createSentinel({ name, sentinelRootNodes: roots })) },
  { 'node-redis 5': ({ name, roots }) => destroyed(createSentinelFive({ name, sentinelRootNodes: roots })) },
);
