// A server process with a typing user, started by typing-process.ts. It reports over IPC when the first keystroke
// was published. Plain JavaScript on the built package, like an application.
import process from 'node:process';
import { createClient } from 'redis';
import { PubSubService, RoomService, TypingService } from 'rollcall';

const { port, room, userId, ttl, every } = JSON.parse(process.argv[2]);

const redis = createClient({ url: `redis://127.0.0.1:${port}` });
redis.on('error', () => {});
const rooms = new RoomService({ pubsub: new PubSubService({ redis }) });
const typing = new TypingService({ rooms, ttl });

// Whoever started this process has ended, however that went.
process.on('disconnect', () => process.exit());

await typing.start(room, userId);
process.send({ typing: true });
setInterval(() => void typing.start(room, userId), every);
