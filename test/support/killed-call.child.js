// A server process that makes one call of its services, and kills itself at a step of it. Plain JavaScript on the built package.
import process from 'node:process';
import { createRollcall } from 'rollcall';
import { connectClient, signalAtStep } from './signal-at-step.js';

const { ports, options, attach, join = [], ...fault } = JSON.parse(process.argv[2]);
const steps = signalAtStep(await connectClient(ports), { ...fault, signal: 'SIGKILL' });
const rollcall = createRollcall({ ...options, redis: steps.redis, onError: () => {} });
await rollcall.presence.connect();
const peer = { send() {}, close() {}, bufferedAmount: 0 };
const socket = attach === undefined ? undefined : await rollcall.rooms.attach(peer, attach);
for (const room of join) await socket.join(room);

process.on('message', async ([path, ...args]) => {
  const names = path.split('.');
  const method = names.pop();
  const target = names.reduce((object, name) => object[name], { ...rollcall, socket });
  steps.start();
  const error = await target[method](...args).then(
    () => undefined,
    ({ name, message }) => `${name}: ${message}`,
  );
  process.send({ calls: steps.end(), error });
});
// Whoever started this process has ended, however that went.
process.on('disconnect', () => process.exit());
process.send('ready');
