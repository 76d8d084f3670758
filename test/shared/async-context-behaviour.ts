import { AsyncLocalStorage } from 'node:async_hooks';
import { createRollcall, onTelemetry, type Rollcall } from 'rollcall';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { driverFor } from '../../src/redis/detect.js';
import type { Driver } from '../../src/redis/driver.js';
import { TypingService } from '../../src/typing/typing-service.js';
import { waitFor } from '../support/wait.js';
import type { PresenceBackend } from './presence-fixture.js';

/** The request whose code is running. */
export const request = new AsyncLocalStorage<string>();

/** A driver that reports each of its calls, in the context of the call. */
function recordCalls(driver: Driver, onCall: (method: string) => void): Driver {
  return new Proxy(driver, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        onCall(String(name));
        return value.apply(target, args) as unknown;
      };
    },
  });
}

/** Tests of the async context in which rollcall calls functions of the application. */
export function asyncContextBehaviour(name: string, setup: () => Promise<PresenceBackend>): void {
  describe(name, () => {
    let backend: PresenceBackend;
    let ends: (() => unknown)[];
    beforeEach(async () => {
      backend = await setup();
      ends = [() => backend.end()];
    });
    afterEach(async () => {
      for (const end of ends.reverse()) await end();
    });

    /** Services that one request has opened and used before all others. */
    async function openIn(
      first: string,
      options: Partial<Parameters<typeof createRollcall>[0]> = {},
    ): Promise<Rollcall> {
      return request.run(first, async () => {
        const rollcall = createRollcall({ redis: backend.client(), ...options });
        ends.push(() => rollcall.close());
        const { pubsub, presence, rooms } = rollcall;
        await pubsub.subscribe('shared', () => {});
        await presence.setPresence('first', 's0', 'online');
        await presence.watch(['user'], () => {});
        const socket = await rooms.attach({ send() {}, close() {}, bufferedAmount: 0 }, { userId: 'first' });
        await socket.join('room', { members: true });
        await socket.watch(['user']);
        return rollcall;
      });
    }

    test('each handler runs in the context in which it was passed', async () => {
      const { pubsub, presence, rooms } = await openIn('first');
      const typing = new TypingService({ rooms });
      ends.push(() => typing.close());
      const seen: Record<string, string | undefined> = {};
      const see = (what: string) => () => {
        seen[what] = request.getStore() ?? 'none';
      };
      const peer = (what: string) => ({
        bufferedAmount: 0,
        send(frame: string | Buffer) {
          const { type, event } = JSON.parse(String(frame)) as { type: string; event?: string };
          see(`${what} ${event ?? type}`)();
        },
        close: see(`${what} close`),
      });
      const pass = async (who: string) => {
        await pubsub.subscribe('shared', see(`${who} subscribe`));
        await pubsub.psubscribe('shared*', see(`${who} psubscribe`));
        await presence.subscribe(see(`${who} presence.subscribe`));
        await presence.watch(['user'], see(`${who} watch`));
        await presence.watchRoom('room', see(`${who} watchRoom`));
        await typing.watch('room', see(`${who} typing`));
        const socket = await rooms.attach(peer(who), { userId: 'user' });
        await socket.join('room', { members: true });
        await socket.watch(['other']);
      };
      await request.run('ann', () => pass('ann'));
      await request.run('bob', () => pass('bob'));
      await pass('none');
      await request.run('another', async () => {
        await pubsub.publish('shared', 1);
        await presence.setPresence('user', 'another', 'busy');
        await presence.setPresence('other', 'another', 'busy');
        await presence.join('room', 'user', 'another');
        await typing.start('room', 'user');
        await rooms.broadcast('room', 'hello');
        await rooms.sendToUser('user', 'direct');
        await waitFor(() => Object.keys(seen).length === 33, { message: () => JSON.stringify(seen) });
        await rooms.disconnectUser('user');
      });
      const kinds = [
        'subscribe',
        'psubscribe',
        'presence.subscribe',
        'watch',
        'watchRoom',
        'typing',
        'hello',
        'direct',
        'members',
        'presence',
        '$typing',
        'close',
      ];
      const expected = ['ann', 'bob', 'none'].flatMap((who) => kinds.map((kind) => [`${who} ${kind}`, who]));
      await waitFor(() => Object.keys(seen).length === expected.length, {
        message: () => JSON.stringify(seen),
      });
      expect(seen).toEqual(Object.fromEntries(expected));
    });

    test('renewals, sweeps, onError and telemetry run in no async context, whichever call started them', async () => {
      const seen = new Map<string, Set<string>>();
      const see = (what: string) => {
        const contexts = seen.get(what) ?? new Set();
        seen.set(what, contexts.add(request.getStore() ?? 'none'));
      };
      for (const event of ['rollcall:presence-update', 'rollcall:subscribe', 'rollcall:deliver'] as const) {
        ends.push(onTelemetry(event, () => see(event)));
      }
      ends.push(onTelemetry('rollcall:publish', ({ channel }) => see(`publish ${channel}`)));
      let opened = false;
      let executed = 0;
      const redis = recordCalls(driverFor(backend.client()), (method) => {
        // A read is executed in the call that asks for it.
        if (method === 'execute' && !opened) return;
        if (method === 'execute') executed++;
        if (['connect', 'execute', 'subscribe'].includes(method)) see(method);
      });
      const { pubsub } = await openIn('first', {
        redis,
        onError: () => see('onError'),
        presence: { lease: 1_000 },
      });
      opened = true;
      await request.run('ann', () =>
        pubsub.subscribe('shared', () => {
          throw new Error('mine');
        }),
      );
      await Promise.all(['ann', 'bob'].map((who) => request.run(who, () => pubsub.publish(`of ${who}`, 1))));
      await request.run('ann', () => pubsub.publish('shared', 1));
      const before = executed;
      await waitFor(() => executed >= before + 3 && seen.has('onError'));
      expect(Object.fromEntries([...seen].map(([what, contexts]) => [what, [...contexts]]))).toEqual({
        connect: ['none'],
        subscribe: ['none'],
        execute: ['none'],
        onError: ['none'],
        'rollcall:presence-update': ['none'],
        'rollcall:subscribe': ['none'],
        'rollcall:deliver': ['none'],
        'publish of ann': ['ann'],
        'publish of bob': ['bob'],
        'publish shared': ['ann'],
      });
    });
  });
}
