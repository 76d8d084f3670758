import { createCluster } from 'redis';
import { createCluster as createClusterFive } from 'redis5';
import { destroyed, type Servers, topologyBehaviour } from '../shared/topology-behaviour.js';

const rootNodes = ({ roots }: Servers) => roots.map((socket) => ({ socket }));

topologyBehaviour(
  'a cluster',
  { 'node-redis 6': (servers) => destroyed(createCluster({ rootNodes: rootNodes(servers) })) },
  {
    'node-redis 6, RESP 2': (servers) => destroyed(createCluster({ rootNodes: rootNodes(servers), RESP: 2 })),
    'node-redis 5': (servers) => destroyed(createClusterFive({ rootNodes: rootNodes(servers) })),
  },
);
