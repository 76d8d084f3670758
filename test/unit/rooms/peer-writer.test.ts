import { describe, expect, test } from 'vitest';
import { type ErrorContext, ErrorReporter } from '../../../src/internal/diagnostics.js';
import type { RollcallError } from '../../../src/internal/errors.js';
import { CloseCode } from '../../../src/protocol/close-codes.js';
import { type Peer, PeerWriter } from '../../../src/rooms/peer-writer.js';
import { EncodedFrame, type FrameEncoder, RoomMessage } from '../../../src/rooms/room-message.js';
import { FakeClock } from '../../support/fake-clock.js';

const MAX = 1_000;

/** Frames as short text. */
const format: FrameEncoder = {
  message: ({ room, data }) => `${room ?? 'user'} ${JSON.stringify(data)}`,
  notice: (notice) => `${notice.type} ${'room' in notice ? notice.room : 'user'}`,
};

class FakePeer implements Peer {
  bufferedAmount = 0;
  readonly format = format;
  readonly log: string[] = [];
  fails = false;

  send(frame: string | Buffer): void {
    if (this.fails) throw new Error('broken pipe');
    this.log.push(String(frame));
  }

  close(code: number, reason: string): void {
    this.log.push(`close ${code} ${reason}`);
  }
}

function fixture(slowPeers: 'close' | 'drop' = 'drop', peer = new FakePeer()) {
  const clock = new FakeClock();
  const errors: [RollcallError, ErrorContext][] = [];
  const counters = { delivered: 0, dropped: 0, closedSlow: 0 };
  const reporter = new ErrorReporter((error, context) => void errors.push([error, context]));
  const gone: unknown[] = [];
  const settings = { clock, reporter, maxBufferedBytes: MAX, slowPeers, counters };
  const writer = new PeerWriter(peer, settings, { detach: (options) => gone.push(options) });
  let count = 0;
  /** Sends the next number. */
  const say = (room?: string) => {
    const json = JSON.stringify({ event: 'message', data: ++count });
    writer.sendMessage(room, EncodedFrame.message(new RoomMessage(room, undefined, json, undefined)));
  };
  return { clock, errors, counters, gone, writer, peer, say };
}

const members = EncodedFrame.notice({ type: 'members', room: 'm', members: [] });

describe('a peer that keeps up', () => {
  test('a peer that keeps up receives all messages, up to the limit', () => {
    const { writer, peer, say, counters, clock } = fixture();
    say('a');
    peer.bufferedAmount = MAX;
    say();
    writer.sendNotice(members);
    writer.sendPosition('a', '5-1');
    expect(peer.log).toEqual(['a 1', 'user 2', 'members m', 'position a']);
    expect(counters).toEqual({ delivered: 2, dropped: 0, closedSlow: 0 });
    expect(clock.timers).toBe(0);
  });
});

describe('a slow peer that is closed', () => {
  test('a slow peer is closed once, and receives nothing more', () => {
    const { peer, say, counters, gone, writer } = fixture('close');
    peer.bufferedAmount = MAX + 1;
    say('a');
    say('a');
    writer.sendNotice(members);
    writer.close(4_999, 'again');
    expect(peer.log).toEqual([`close ${CloseCode.SLOW_CONSUMER} reads too slowly`]);
    expect(gone).toEqual([{}]);
    expect(counters).toEqual({ delivered: 0, dropped: 0, closedSlow: 1 });
    expect(writer.open).toBe(false);
  });
});

describe('a slow peer whose messages are dropped', () => {
  test('a slow peer receives nothing until half of its buffer has drained, then one discontinuity per room, then new messages', () => {
    const { peer, say, counters } = fixture();
    peer.bufferedAmount = MAX + 1;
    say('a');
    say('b');
    say('a');
    say();
    peer.bufferedAmount = MAX / 2 + 1;
    say('a');
    expect(peer.log).toEqual([]);
    peer.bufferedAmount = MAX / 2;
    say('a');
    say('a');
    expect(peer.log).toEqual(['discontinuity a', 'discontinuity b', 'discontinuity user', 'a 6', 'a 7']);
    expect(counters).toEqual({ delivered: 2, dropped: 5, closedSlow: 0 });
  });

  test('a slow peer receives one discontinuity even if its rooms are quiet', () => {
    const { clock, peer, say } = fixture();
    peer.bufferedAmount = MAX + 1;
    say('a');
    clock.advance(10_000);
    expect(peer.log).toEqual([]);
    peer.bufferedAmount = 0;
    clock.advance(250);
    expect(peer.log).toEqual(['discontinuity a']);
    clock.advance(10_000);
    expect(peer.log).toEqual(['discontinuity a']);
    expect(clock.timers).toBe(0);
  });

  test('a slow peer has one timer, however often messages are dropped', () => {
    const { clock, peer, say, writer } = fixture();
    for (let turn = 0; turn < 50; turn++) {
      peer.bufferedAmount = MAX + 1;
      say('a');
      expect(clock.timers).toBe(1);
      peer.bufferedAmount = 0;
      say('a');
      expect(clock.timers).toBe(0);
    }
    peer.bufferedAmount = MAX + 1;
    say('a');
    writer.end();
    expect(clock.timers).toBe(0);
  });

  test('a slow peer receives no positions of a room with dropped messages, but those of other rooms', () => {
    const { peer, say, writer } = fixture();
    peer.bufferedAmount = MAX + 1;
    say('a');
    writer.sendPosition('a', '5-1');
    writer.sendPosition('b', '5-1');
    expect(peer.log).toEqual(['position b']);
    peer.bufferedAmount = 0;
    writer.sendPosition('a', '6-1');
    expect(peer.log).toEqual(['position b', 'discontinuity a', 'position a']);
  });

  test('a slow peer receives no discontinuity of a room that it has left', () => {
    const { clock, peer, say, writer } = fixture();
    peer.bufferedAmount = MAX + 1;
    say('a');
    say('b');
    writer.clearDropped('a');
    writer.clearDropped('c');
    peer.bufferedAmount = 0;
    clock.advance(250);
    expect(peer.log).toEqual(['discontinuity b']);
    peer.bufferedAmount = MAX + 1;
    say('a');
    writer.clearDropped('a');
    expect(clock.timers).toBe(0);
  });

  test('a slow peer is closed by a message when more than four times the limit is buffered', () => {
    const { peer, say, counters, gone, clock } = fixture();
    peer.bufferedAmount = 4 * MAX;
    say('a');
    expect(peer.log).toEqual([]);
    peer.bufferedAmount = 4 * MAX + 1;
    say('a');
    expect(peer.log).toEqual([`close ${CloseCode.SLOW_CONSUMER} reads too slowly`]);
    expect(gone).toEqual([{}]);
    expect(counters).toEqual({ delivered: 0, dropped: 1, closedSlow: 1 });
    expect(clock.timers).toBe(0);
  });

  test('a slow peer is closed when more than four times the limit is buffered, also in quiet rooms', () => {
    const { peer, say, clock } = fixture();
    peer.bufferedAmount = MAX + 1;
    say('a');
    peer.bufferedAmount = 1_000 * MAX;
    clock.advance(250);
    expect(peer.log).toEqual([`close ${CloseCode.SLOW_CONSUMER} reads too slowly`]);
    expect(clock.timers).toBe(0);
  });

  test('a slow peer receives notices until four times the limit is buffered', () => {
    const { peer, writer, counters } = fixture();
    peer.bufferedAmount = 4 * MAX;
    writer.sendNotice(members);
    peer.bufferedAmount++;
    writer.sendNotice(members);
    expect(peer.log).toEqual(['members m', `close ${CloseCode.SLOW_CONSUMER} reads too slowly`]);
    expect(counters.closedSlow).toBe(1);
  });
});

describe('a peer that fails', () => {
  test('a peer that fails is closed, and the failure is reported once', () => {
    const { peer, say, errors, gone } = fixture();
    peer.fails = true;
    say('a');
    say('a');
    expect(peer.log).toEqual([`close ${CloseCode.UNAVAILABLE} sending failed`]);
    expect(errors.map(([{ name, message }, { stage }]) => [name, message, stage])).toEqual([
      ['HandlerError', 'a peer failed: broken pipe', 'peer'],
    ]);
    expect(gone).toHaveLength(1);
  });

  test('a peer receives no further notice of the batch in which it failed', () => {
    const { peer, say, errors } = fixture();
    peer.bufferedAmount = MAX + 1;
    say('a');
    say('b');
    peer.bufferedAmount = 0;
    peer.fails = true;
    say('c');
    expect(errors).toHaveLength(1);
    expect(peer.log).toHaveLength(1);
  });

  test('a peer is closed if reading its bufferedAmount throws', () => {
    const peer = new FakePeer();
    Object.defineProperty(peer, 'bufferedAmount', {
      get: () => {
        throw new Error('no socket');
      },
    });
    for (const act of ['message', 'notice', 'position'] as const) {
      const { writer, say, errors, counters } = fixture('close', peer);
      if (act === 'message') say('a');
      else if (act === 'notice') writer.sendNotice(members);
      else writer.sendPosition('a', '1-1');
      expect(writer.open).toBe(false);
      expect(errors).toHaveLength(1);
      expect(counters.closedSlow).toBe(0);
    }
  });

  test('a peer is detached even if closing it throws, and the error is reported', () => {
    const { peer, writer, errors, gone } = fixture();
    peer.close = () => {
      throw new Error('closed already');
    };
    writer.close(1012, 'restart', { handoff: true });
    expect(gone).toEqual([{ handoff: true }]);
    expect(errors).toHaveLength(1);
  });

  test('a peer is not closed because of a frame that cannot be encoded', () => {
    const { peer, writer, say, errors } = fixture();
    const torn = new RoomMessage('a', undefined, '{"event":"x"', undefined);
    writer.sendMessage('a', EncodedFrame.message(torn));
    say('a');
    expect(peer.log).toEqual(['a 1']);
    expect(errors).toHaveLength(1);
    expect(writer.open).toBe(true);
  });
});

describe('a frame', () => {
  test('a frame is encoded once per encoder, in any order', () => {
    const calls: string[] = [];
    const formats = ['x', 'y', 'z'].map(
      (name): FrameEncoder => ({
        message: () => {
          calls.push(name);
          return name;
        },
        notice: () => undefined,
      }),
    );
    const outgoing = EncodedFrame.message(
      new RoomMessage('a', undefined, '{"event":"x","data":1}', undefined),
    );
    const order = [0, 1, 0, 2, 1, 2, 0];
    expect(order.map((at) => outgoing.encode(formats[at] as FrameEncoder))).toEqual(
      order.map((at) => 'xyz'[at]),
    );
    expect(calls).toEqual(['x', 'y', 'z']);
    expect(members.encode(formats[1] as FrameEncoder)).toBeUndefined();
  });

  test('a frame that cannot be encoded fails once per encoder', () => {
    let calls = 0;
    const bad = (): FrameEncoder => ({
      message: () => {
        calls++;
        throw new Error('no');
      },
      notice: () => undefined,
    });
    const [one, two] = [bad(), bad()];
    const outgoing = EncodedFrame.message(
      new RoomMessage('a', undefined, '{"event":"x","data":1}', undefined),
    );
    for (const each of [one, two]) {
      expect(() => outgoing.encode(each)).toThrow('no');
      expect(outgoing.encode(each)).toBeUndefined();
    }
    expect(calls).toBe(2);
  });
});
