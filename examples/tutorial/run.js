// @ts-check
// node examples/tutorial/run.js <step>, after npm run build. On REDIS_URL, or on the embedded Redis.
import { createClient } from 'redis';
import { closeOnSignals } from 'rollcall';
import { createEmbeddedRedis } from 'rollcall/testing';

const step = process.argv[2] ?? '1';
if (!/^[1-6]$/.test(step)) throw new Error(`there is no step ${step}: name one of 1 to 6`);

const url = process.env['REDIS_URL'];
const embedded = url === undefined ? await createEmbeddedRedis() : undefined;
/** @type {{ destroy(): void }[]} */
const clients = [];

/** A client for each server, as in processes of their own. */
function createRedis() {
  if (url === undefined) return /** @type {NonNullable<typeof embedded>} */ (embedded).connect();
  const client = createClient({ url });
  client.on('error', () => {}); // the client reconnects by itself; failures reach onError
  clients.push(client);
  return client;
}

async function closeRedis() {
  await embedded?.close();
  for (const client of clients) client.destroy();
}

const { main } = await import(`./${step}/main.js`);
const stop = await main({ createRedis, log: console.log, ports: [8081, 8082] });
if (stop === undefined) {
  await closeRedis();
} else {
  console.log('Ctrl-C ends it');
  closeOnSignals(async () => {
    await stop();
    await closeRedis();
  });
}
