// A server process whose socket changes its user, and which stops or kills itself at a step of the change. Plain JavaScript on the
// built package.
import process from 'node:process';
import { createRollcall } from 'rollcall';
import { connectClient, signalAtStep } from './signal-at-step.js';

const { ports, prefix, lease, guest, user, rooms: names, ...fault } = JSON.parse(process.argv[2]);
const steps = signalAtStep(await connectClient(ports), fault);

const { rooms, close } = createRollcall({
  redis: steps.redis,
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
  steps.start();
  const error = await socket.identify(user).then(
    () => undefined,
    ({ name }) => name,
  );
  process.send({ calls: steps.end(), error, userId: socket.userId });
});
// Whoever started this process has ended, however that went.
process.on('disconnect', () => process.exit());
process.send('ready');
