import { createRollcall } from 'rollcall';
import { expect, test } from 'vitest';
import { asyncContextBehaviour, request } from '../shared/async-context-behaviour.js';
import { backendOn, serviceClients } from '../shared/redis-clients.js';
import { startRedis } from '../support/redis-server.js';
import { waitFor } from '../support/wait.js';

for (const [name, make] of serviceClients) {
  asyncContextBehaviour(`async contexts on ${name}`, async () => {
    const server = await startRedis();
    const backend = backendOn(server, make);
    const end = async () => {
      await backend.end();
      await server.stop();
    };
    return { ...backend, end };
  });
}

test.each(serviceClients)('%s: a reconnect keeps the contexts', async (_, make) => {
  const server = await startRedis();
  const { client, end } = make(server.port);
  const onError: unknown[] = [];
  const { pubsub, close } = request.run('first', () =>
    createRollcall({ redis: client, onError: () => onError.push(request.getStore()) }),
  );
  const seen: [string, string | undefined][] = [];
  const history = { size: 10, ttl: 60_000 };
  const subscribe = (who: string) =>
    pubsub.subscribe(
      'x',
      () => {
        seen.push([who, request.getStore()]);
        if (who === 'first') throw new Error('mine');
      },
      { since: 'latest', onDiscontinuity: () => seen.push([`gap of ${who}`, request.getStore()]) },
    );
  await request.run('first', () => subscribe('first'));
  await request.run('ann', () => subscribe('ann'));
  await subscribe('none');
  await server.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await request.run('bob', () => pubsub.publish('x', 1, { history }));
  await waitFor(() => seen.length === 6, { message: () => JSON.stringify(seen) });
  expect(new Set(seen.map((each) => JSON.stringify(each)))).toEqual(
    new Set(
      [
        ['first', 'first'],
        ['ann', 'ann'],
        ['none', null],
        ['gap of first', 'first'],
        ['gap of ann', 'ann'],
        ['gap of none', null],
      ].map((each) => JSON.stringify(each)),
    ),
  );
  await waitFor(() => onError.length > 0);
  expect(onError[0]).toBeUndefined();
  await close();
  end();
  await server.stop();
});
