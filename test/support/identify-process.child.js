// A server process whose socket changes its user, and which stops or kills itself at a step of the change. Plain JavaScript on the
// built package.
import process from 'node:process';
import { createRollcall } from 'rollcall';
import { createChaosDriver } from 'rollcall/testing';

const { ports, prefix, lease, guest, user, rooms: names, step, signal, when } = JSON.parse(process.argv[2]);

async function connectClient() {
  const { Cluster, Redis } = await import('ioredis');
  const nodes = ports.map((port) => ({ host: '127.0.0.1', port }));
  const client = ports.length > 1 ? new Cluster(nodes) : new Redis({ ...nodes[0], retryStrategy: () => 50 });
  client.on('error', () => {});
  return client;
}

let calls = Number.NaN;
// Only for its place between the services and the client.
const driver = createChaosDriver(await connectClient());
const redis = new Proxy(driver, {
  get(target, name) {
    const value = Reflect.get(target, name, target);
    if (typeof value !== 'function') return value;
    return (...args) => {
      const counted = name === 'subscribe' || (name === 'execute' && args[1]?.background !== true);
      const isStep = counted && ++calls === step;
      if (isStep && when === 'before') process.kill(process.pid, signal);
      const result = value.apply(target, args);
      if (!isStep || when === 'before') return result;
      return result.then((reply) => {
        process.kill(process.pid, signal);
        return reply;
      });
    };
  },
});

const { rooms, close } = createRollcall({
  redis,
  pubsub: { prefix },
  presence: { prefix, lease },
  onError: () => {},
});
const peer = { send() {}, close() {}, bufferedAmount: 0 };
const socket = await rooms.attach(peer, { userId: guest, socketId: `socket-of-${guest}` });
for (const name of names) await socket.join(name);

process.on('message', async (action) => {
  if (action === 'close') {
    await close();
    process.exit();
  }
  calls = 0;
  const error = await socket.identify(user).then(
    () => undefined,
    ({ name }) => name,
  );
  const total = calls;
  // Later calls are not part of the change.
  calls = Number.NaN;
  process.send({ calls: total, error, userId: socket.userId });
});
// Whoever started this process has ended, however that went.
process.on('disconnect', () => process.exit());
process.send('ready');
