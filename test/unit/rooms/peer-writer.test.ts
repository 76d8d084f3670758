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

function scene(slowPeers: 'close' | 'drop' = 'drop', peer = new FakePeer()) {
  const clock = new FakeClock();
  const errors: [RollcallError, ErrorContext][] = [];
  const counters = { delivered: 0, dropped: 0, closedSlow: 0 };
  const reporter = new ErrorReporter((error, context) => void errors.push([error, context]));
  const gone: unknown[] = [];
  const settings = { clock, reporter, maxBufferedBytes: MAX, slowPeers, counters };
  const outlet = new PeerWriter(peer, settings, (options) => void gone.push(options));
  let count = 0;
  /** Sends the next number. */
  const say = (room?: string) => {
    const json = JSON.stringify({ event: 'said', data: ++count });
    outlet.sendMessage(room, EncodedFrame.message(new RoomMessage(room, undefined, json, undefined)));
  };
  return { clock, errors, counters, gone, outlet, peer, say };
}

const members = EncodedFrame.notice({ type: 'members', room: 'm', members: [] });

describe('a peer that keeps up', () => {
  test('gets everything, up to the limit', () => {
    const { outlet, peer, say, counters, clock } = scene();
    say('a');
    peer.bufferedAmount = MAX;
    say();
    outlet.sendNotice(members);
    outlet.sendPosition('a', '5-1');
    expect(peer.log).toEqual(['a 1', 'user 2', 'members m', 'position a']);
    expect(counters).toEqual({ delivered: 2, dropped: 0, closedSlow: 0 });
    expect(clock.timers).toBe(0);
  });
});

describe('a slow peer that is closed', () => {
  test('is closed once, and gets nothing more', () => {
    const { peer, say, counters, gone, outlet } = scene('close');
    peer.bufferedAmount = MAX + 1;
    say('a');
    say('a');
    outlet.sendNotice(members);
    outlet.close(4_999, 'again');
    expect(peer.log).toEqual([`close ${CloseCode.SLOW_CONSUMER} reads too slowly`]);
    expect(gone).toEqual([{}]);
    expect(counters).toEqual({ delivered: 0, dropped: 0, closedSlow: 1 });
    expect(outlet.open).toBe(false);
  });
});

describe('a slow peer that is left out', () => {
  test('gets nothing until half of what may wait is left, then one notice per room, then the rest', () => {
    const { peer, say, counters } = scene();
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

  test('is told also where nothing more is said, once', () => {
    const { clock, peer, say } = scene();
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

  test('has one timer, however often it falls behind', () => {
    const { clock, peer, say, outlet } = scene();
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
    outlet.end();
    expect(clock.timers).toBe(0);
  });

  test('does not hear of places behind what it lacks, but of others', () => {
    const { peer, say, outlet } = scene();
    peer.bufferedAmount = MAX + 1;
    say('a');
    outlet.sendPosition('a', '5-1');
    outlet.sendPosition('b', '5-1');
    expect(peer.log).toEqual(['position b']);
    peer.bufferedAmount = 0;
    outlet.sendPosition('a', '6-1');
    expect(peer.log).toEqual(['position b', 'discontinuity a', 'position a']);
  });

  test('is told nothing of a room it has left', () => {
    const { clock, peer, say, outlet } = scene();
    peer.bufferedAmount = MAX + 1;
    say('a');
    say('b');
    outlet.clearDropped('a');
    outlet.clearDropped('c');
    peer.bufferedAmount = 0;
    clock.advance(250);
    expect(peer.log).toEqual(['discontinuity b']);
    peer.bufferedAmount = MAX + 1;
    say('a');
    outlet.clearDropped('a');
    expect(clock.timers).toBe(0);
  });

  test('gets notices all the same, until it is hopeless', () => {
    const { peer, outlet, counters } = scene();
    peer.bufferedAmount = 4 * MAX;
    outlet.sendNotice(members);
    peer.bufferedAmount++;
    outlet.sendNotice(members);
    expect(peer.log).toEqual(['members m', `close ${CloseCode.SLOW_CONSUMER} reads too slowly`]);
    expect(counters.closedSlow).toBe(1);
  });
});

describe('a peer that fails', () => {
  test('is closed, and reported once', () => {
    const { peer, say, errors, gone } = scene();
    peer.fails = true;
    say('a');
    say('a');
    expect(peer.log).toEqual([`close ${CloseCode.UNAVAILABLE} sending failed`]);
    expect(errors.map(([{ name, message }, { stage }]) => [name, message, stage])).toEqual([
      ['HandlerError', 'a peer failed: broken pipe', 'peer'],
    ]);
    expect(gone).toHaveLength(1);
  });

  test('in the middle of several notices gets none of the others', () => {
    const { peer, say, errors } = scene();
    peer.bufferedAmount = MAX + 1;
    say('a');
    say('b');
    peer.bufferedAmount = 0;
    peer.fails = true;
    say('c');
    expect(errors).toHaveLength(1);
    expect(peer.log).toHaveLength(1);
  });

  test('also by not telling what waits, which is its own affair', () => {
    const peer = new FakePeer();
    Object.defineProperty(peer, 'bufferedAmount', {
      get: () => {
        throw new Error('no socket');
      },
    });
    for (const act of ['message', 'notice', 'position'] as const) {
      const { outlet, say, errors, counters } = scene('close', peer);
      if (act === 'message') say('a');
      else if (act === 'notice') outlet.sendNotice(members);
      else outlet.sendPosition('a', '1-1');
      expect(outlet.open).toBe(false);
      expect(errors).toHaveLength(1);
      expect(counters.closedSlow).toBe(0);
    }
  });

  test('to close is reported, and gone all the same', () => {
    const { peer, outlet, errors, gone } = scene();
    peer.close = () => {
      throw new Error('closed already');
    };
    outlet.close(1012, 'restart', { handoff: true });
    expect(gone).toEqual([{ handoff: true }]);
    expect(errors).toHaveLength(1);
  });

  test('is not one whose frame cannot be made', () => {
    const { peer, outlet, say, errors } = scene();
    const torn = new RoomMessage('a', undefined, '{"event":"x"', undefined);
    outlet.sendMessage('a', EncodedFrame.message(torn));
    say('a');
    expect(peer.log).toEqual(['a 1']);
    expect(errors).toHaveLength(1);
    expect(outlet.open).toBe(true);
  });
});

describe('a frame', () => {
  test('is made once per format, in whichever order they ask', () => {
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

  test('that cannot be made fails once per format', () => {
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
