import { describe, expect, test } from 'vitest';
import { defineChannel, PubSubService, type RoomEvent } from '../../../src/index.js';
import { ChannelAnchors } from '../../../src/rooms/channel-anchors.js';
import { turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

const channel = defineChannel<RoomEvent>()('room:{room}')({ room: 'a' });

function scene() {
  const driver = new FakeDriver();
  const pubsub = new PubSubService({ redis: driver });
  const heard: string[] = [];
  const keepers = new ChannelAnchors(pubsub, (payload) => void heard.push(payload));
  const ack = async () => {
    await turn();
    for (const call of driver.pending) call.ack();
    await turn();
  };
  return { driver, keepers, heard, ack };
}

describe('a channel that peers listen to', () => {
  test('is subscribed once for all who come, and until the last of them goes', async () => {
    const { driver, keepers, heard, ack } = scene();
    const held = [keepers.acquire(channel), keepers.acquire(channel), keepers.acquire(channel)];
    await ack();
    await Promise.all(held);
    expect(keepers.size).toBe(1);
    driver.message('channel', channel.name, 'x');
    expect(heard).toEqual(['x']);
    await keepers.release(channel);
    await keepers.release(channel);
    expect(keepers.size).toBe(1);
    const released = keepers.release(channel);
    expect(keepers.size).toBe(0);
    await ack();
    await released;
    expect(driver.calls.map(({ method }) => method)).toEqual(['subscribe', 'unsubscribe']);
    await keepers.release(channel);
    expect(driver.breaches).toEqual([]);
  });

  test('that is refused counts for nobody, and is tried again by the next', async () => {
    const { driver, keepers, ack } = scene();
    const held = Promise.allSettled([keepers.acquire(channel), keepers.acquire(channel)]);
    await turn();
    driver.only.refuse();
    expect((await held).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(keepers.size).toBe(0);
    const again = keepers.acquire(channel);
    await ack();
    await again;
    expect(keepers.size).toBe(1);
  });

  test('whose refusal comes after somebody has begun anew leaves that one alone', async () => {
    const { driver, keepers, ack } = scene();
    const first = keepers.acquire(channel);
    let second: Promise<unknown> = Promise.resolve();
    const refused = first.catch(() => {
      second = keepers.acquire(channel);
    });
    const late = keepers.acquire(channel).catch(() => 'refused');
    await turn();
    driver.only.refuse();
    await refused;
    expect(await late).toBe('refused');
    await ack();
    await second;
    expect(keepers.size).toBe(1);
  });

  test('can be left and come to again while Redis is told of it', async () => {
    const { driver, keepers, heard, ack } = scene();
    const held = keepers.acquire(channel);
    await ack();
    await held;
    const released = keepers.release(channel);
    const again = keepers.acquire(channel);
    await ack();
    await ack();
    await Promise.all([released, again]);
    expect(keepers.size).toBe(1);
    expect([...driver.known]).toEqual([`channel ${channel.name}`]);
    driver.message('channel', channel.name, 'x');
    expect(heard).toEqual(['x']);
  });
});
