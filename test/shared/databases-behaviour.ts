import { afterEach, describe, expect, test } from 'vitest';
import { createRollcall, type RedisClient, type Rollcall, TypingService } from '../../src/index.js';
import { waitFor } from '../support/wait.js';

/** A client of a logical database. */
export type Connect = (database: number) => { client: RedisClient; end(): unknown };

/** `connect` is called within tests. */
export function databasesBehaviour(title: string, connect: Connect): void {
  describe(title, () => {
    const opened: { end(): unknown }[] = [];
    afterEach(async () => {
      for (const one of opened.splice(0).reverse()) await one.end();
    });

    const history = { size: 100, ttl: 60_000 };

    function app(database: number, rooms: { history?: false } = {}): Rollcall & { errors: string[] } {
      const { client, end } = connect(database);
      const errors: string[] = [];
      const all = createRollcall({
        redis: client,
        rooms,
        onError: (error, { stage }) => errors.push(`${stage}: ${error.message}`),
      });
      opened.push({ end }, { end: () => all.close() });
      return Object.assign(all, { errors });
    }

    /** Everything that an app can receive, as text. */
    async function record(all: Rollcall, seen: string[]) {
      const { presence, pubsub, rooms } = all;
      await presence.subscribe(({ userId, status }) => seen.push(`change ${userId} ${status}`));
      await presence.watch(['ann'], ({ userId, status }) => seen.push(`watch ${userId} ${status}`));
      await presence.watchRoom('lobby', ({ type, userId }) => seen.push(`room ${type} ${userId}`));
      await pubsub.subscribe('log', (message) => seen.push(`log ${message}`), {
        since: 'latest',
        onDiscontinuity: ({ reason }) => seen.push(`gap ${reason}`),
      });
      await pubsub.psubscribe('lo*', (message) => seen.push(`pattern ${message}`));
      const typing = new TypingService({ rooms });
      opened.push({ end: () => typing.close() });
      await typing.watch('lobby', (users) => seen.push(`typing ${[...users].join(' ')}`));
      const peer = {
        bufferedAmount: 0,
        send: (frame: string | Buffer) => void seen.push(`peer ${String(frame)}`),
        close: (code: number) => void seen.push(`closed ${code}`),
      };
      const socket = await rooms.attach(peer, { userId: 'zoe' });
      await socket.join('lobby');
      return { typing, socket };
    }

    const SENT = ['"hello"', '"there"', '"hello zoe"'];

    async function act(
      { presence, pubsub, rooms }: Rollcall,
      typing: TypingService,
      seen: readonly string[],
    ): Promise<void> {
      await presence.setPresence('ann', 's1');
      await presence.join('lobby', 'ann', 's1');
      for (let at = 0; at < 3; at++) await pubsub.publish('log', `entry ${at}`, { history });
      await pubsub.publish('log', 'passing', { transient: true });
      await rooms.broadcast('lobby', 'said', 'hello');
      await rooms.broadcast('lobby', 'moved', 'there', { transient: true });
      await rooms.sendToUser('zoe', 'said', 'hello zoe');
      await typing.start('lobby', 'ann');
      // On a Cluster messages of different channels have no order.
      const arrived = () => SENT.every((part) => seen.some((text) => text.includes(part)));
      await waitFor(arrived, { message: () => `what was sent to zoe; so far ${seen.join('\n')}` });
      await rooms.disconnectUser('zoe', 'banned');
    }

    test.each([
      ['with history in rooms', {}],
      ['without history in rooms', { history: false as const }],
    ])('never receive anything of each other, %s', async (__, options) => {
      const [one, two] = [app(0, options), app(1, options)];
      const [seenInOne, seenInTwo]: [string[], string[]] = [[], []];
      await record(one, seenInOne);
      const { typing, socket } = await record(two, seenInTwo);
      seenInOne.length = 0;
      await act(two, typing, seenInTwo);
      await waitFor(() => !socket.attached, { message: 'zoe to be disconnected in database 1' });
      // A round trip on every subscription of database 0: what was published before has arrived.
      await one.presence.setPresence('fence', 's1');
      await one.presence.join('lobby', 'fence', 's1');
      await one.pubsub.publish('log', 'fence', { history });
      await one.rooms.broadcast('lobby', 'fence', null);
      await one.rooms.sendToUser('zoe', 'fence', null);
      const isFence = (text: string) => text.includes('fence');
      await waitFor(() => seenInOne.filter(isFence).length >= 6, { message: () => seenInOne.join('\n') });
      expect(seenInOne.filter((text) => !isFence(text) && !text.includes('"zoe"'))).toEqual([]);
      expect(seenInTwo.filter((text) => text.startsWith('gap'))).toEqual([]);
      for (const start of [
        'change ann',
        'watch ann',
        'room join ann',
        'log entry 2',
        'log passing',
        'pattern entry 0',
        'pattern passing',
        'typing ann',
        'closed',
      ]) {
        expect(
          seenInTwo.some((text) => text.startsWith(start)),
          start,
        ).toBe(true);
      }
      expect(seenInTwo.some(isFence)).toBe(false);
      expect([...one.errors, ...two.errors]).toEqual([]);
    });
  });
}
