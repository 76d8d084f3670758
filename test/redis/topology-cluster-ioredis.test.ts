import { Cluster as IoredisFiveCluster } from 'ioredis';
import { Cluster as IoredisSixCluster } from 'ioredis6';
import { disconnected, topologyBehaviour } from '../shared/topology-behaviour.js';

topologyBehaviour(
  'a cluster',
  { 'ioredis 6': ({ roots }) => disconnected(new IoredisSixCluster(roots)) },
  { 'ioredis 5': ({ roots }) => disconnected(new IoredisFiveCluster(roots)) },
);
