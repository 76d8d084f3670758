import { describe, expect, test } from 'vitest';
import { defineChannel, PubSubService, type RoomEvent } from '../../../src/index.js';
import { ChannelAnchors } from '../../../src/rooms/channel-anchors.js';
import { turn } from '../../support/fake-clock.js';
import { FakeDriver } from '../../support/fake-driver.js';

const channel = defineChannel<RoomEvent>()('room:{room}')({ room: 'a' });

function fixture() {
  const driver = new FakeDriver();
  const pubsub = new PubSubService({ redis: driver });
  const received: string[] = [];
  const anchors = new ChannelAnchors(pubsub, (payload) => void received.push(payload));
  const ack = async () => {
    await turn();
    for (const call of driver.pending) call.ack();
    await turn();
  };
  return { driver, anchors, received, ack };
}

describe('a channel that peers listen to', () => {
  test('a channel is subscribed once for all peers, until the last of them is released', async () => {
    const { driver, anchors, received, ack } = fixture();
    const held = [anchors.acquire(channel), anchors.acquire(channel), anchors.acquire(channel)];
    await ack();
    await Promise.all(held);
    expect(anchors.size).toBe(1);
    driver.message('channel', channel.name, 'x');
    expect(received).toEqual(['x']);
    await anchors.release(channel);
    await anchors.release(channel);
    expect(anchors.size).toBe(1);
    const released = anchors.release(channel);
    expect(anchors.size).toBe(0);
    await ack();
    await released;
    expect(driver.calls.map(({ method }) => method)).toEqual(['subscribe', 'unsubscribe']);
    await anchors.release(channel);
    expect(driver.breaches).toEqual([]);
  });

  test('a refused subscription counts no peer, and the next peer tries again', async () => {
    const { driver, anchors, ack } = fixture();
    const held = Promise.allSettled([anchors.acquire(channel), anchors.acquire(channel)]);
    await turn();
    driver.only.refuse();
    expect((await held).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(anchors.size).toBe(0);
    const again = anchors.acquire(channel);
    await ack();
    await again;
    expect(anchors.size).toBe(1);
  });

  test('a refusal that arrives after a new attempt does not affect that attempt', async () => {
    const { driver, anchors, ack } = fixture();
    const first = anchors.acquire(channel);
    let second: Promise<unknown> = Promise.resolve();
    const refused = first.catch(() => {
      second = anchors.acquire(channel);
    });
    const late = anchors.acquire(channel).catch(() => 'refused');
    await turn();
    driver.only.refuse();
    await refused;
    expect(await late).toBe('refused');
    await ack();
    await second;
    expect(anchors.size).toBe(1);
  });

  test('a channel can be released and acquired again while UNSUBSCRIBE is in flight', async () => {
    const { driver, anchors, received, ack } = fixture();
    const held = anchors.acquire(channel);
    await ack();
    await held;
    const released = anchors.release(channel);
    const again = anchors.acquire(channel);
    await ack();
    await ack();
    await Promise.all([released, again]);
    expect(anchors.size).toBe(1);
    expect([...driver.known]).toEqual([`channel ${channel.name}`]);
    driver.message('channel', channel.name, 'x');
    expect(received).toEqual(['x']);
  });
});
