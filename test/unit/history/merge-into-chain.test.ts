import { describe, expect, test } from 'vitest';
import {
  type BufferedMessage,
  type ChainLink,
  classifyBreak,
  mergeIntoChain,
  type Page,
} from '../../../src/history/merge-into-chain.js';
import { ORIGIN, type Position } from '../../../src/history/position.js';
import { fc } from '../../support/property.js';

/** A chain of messages after `from`, at these times; `nonce` tells servers apart. */
function chain(times: readonly number[], from: Position = ORIGIN, nonce = 1): ChainLink[] {
  let previous = from;
  return times.map((time) => {
    const position = `${time}-${nonce}`;
    const link = { position, previous };
    previous = position;
    return link;
  });
}

const page = (messages: readonly ChainLink[], last = messages.at(-1)?.position ?? ORIGIN, more = false) =>
  ({ last, more, server: 's', messages }) satisfies Page<ChainLink>;
const beforeRead = (link: ChainLink): BufferedMessage<ChainLink> => ({ link, beforeRead: true });
const fresh = (link: ChainLink): BufferedMessage<ChainLink> => ({ link, beforeRead: false });

/** The steps as short text: positions, and the reasons of breaks. */
const shown = (result: ReturnType<typeof mergeIntoChain<ChainLink>>) =>
  result.steps.map((step) => (step.type === 'break' ? step.reason : step.message.position));

const [a, b, c, d, e] = chain([10, 20, 30, 40, 50]) as [
  ChainLink,
  ChainLink,
  ChainLink,
  ChainLink,
  ChainLink,
];

describe('a page alone', () => {
  test('following messages are delivered in order', () => {
    const result = mergeIntoChain(a.position, page([b, c]), []);
    expect(shown(result)).toEqual([b.position, c.position]);
    expect(result).toMatchObject({ position: c.position, readAgain: false, buffered: [] });
  });

  test('no new messages cause no steps', () => {
    expect(mergeIntoChain(c.position, page([], c.position), [])).toMatchObject({
      steps: [],
      position: c.position,
      readAgain: false,
    });
  });

  test('a page with more after it requires another read', () => {
    const result = mergeIntoChain(a.position, page([b], d.position, true), []);
    expect(result).toMatchObject({ position: b.position, readAgain: true });
  });

  test('without a position, all messages are delivered', () => {
    expect(shown(mergeIntoChain(undefined, page([c, d]), []))).toEqual([c.position, d.position]);
    expect(mergeIntoChain(undefined, page([], c.position), []).position).toBe(c.position);
  });
});

describe('breaks', () => {
  test.each([
    ['the oldest were trimmed', page([c, d]), ['trimmed', c.position, d.position], d.position],
    ['the stream is gone, its position is not', page([], d.position), ['trimmed'], d.position],
    ['all is gone', page([]), ['wiped'], ORIGIN],
    [
      'all is gone, and there are new ones',
      page(chain([60, 70], ORIGIN, 2)),
      ['wiped', '60-2', '70-2'],
      '70-2',
    ],
    ['the server lost what was read', page([], '5-1'), ['forked'], '5-1'],
    ['… and went on', page(chain([60], '5-1', 2)), ['forked', '60-2'], '60-2'],
    ['another message has the same time', page([], '10-2'), ['forked'], '10-2'],
  ] as const)('%s', (_, read, steps, position) => {
    const result = mergeIntoChain(a.position, read, []);
    expect(shown(result)).toEqual(steps);
    expect(result).toMatchObject({ position, readAgain: false });
  });

  test('a fork whose clock is behind is followed from its end, without duplicates', () => {
    const [p, q, r] = chain([7, 8, 9], '5-1', 2) as [ChainLink, ChainLink, ChainLink];
    const result = mergeIntoChain(b.position, page([], q.position), [
      beforeRead(a),
      beforeRead(p),
      beforeRead(q),
      fresh(r),
    ]);
    expect(shown(result)).toEqual(['forked']);
    // Its time proves nothing: only another read shows whether it was delivered before.
    expect(result).toMatchObject({
      position: q.position,
      readAgain: true,
      buffered: [fresh(r), beforeRead(a)],
    });
    const again = mergeIntoChain(q.position, page([r]), [beforeRead(r)], 20);
    expect(shown(again)).toEqual([r.position]);
    expect(shown(mergeIntoChain(q.position, page([], q.position), [beforeRead(r)], 20))).toEqual([]);
  });

  test('each kind of break has its reason', () => {
    expect(classifyBreak('10-1', ORIGIN)).toBe('wiped');
    expect(classifyBreak('10-1', '9-1')).toBe('forked');
    expect(classifyBreak('10-1', '10-2')).toBe('forked');
    expect(classifyBreak('10-1', '11-1')).toBe('trimmed');
  });
});

describe('with live messages', () => {
  test('duplicates are dropped', () => {
    const result = mergeIntoChain(a.position, page([b, c]), [fresh(b), fresh(c), fresh(d)]);
    expect(shown(result)).toEqual([b.position, c.position, d.position]);
    expect(result).toMatchObject({ buffered: [], readAgain: false });
  });

  test('a message trimmed from the history that arrived live is not missing', () => {
    const result = mergeIntoChain(a.position, page([d, e]), [beforeRead(b), beforeRead(c)]);
    expect(shown(result)).toEqual([b, c, d, e].map(({ position }) => position));
  });

  test('a gap before a message that arrived during the read requires another read', () => {
    const result = mergeIntoChain(a.position, page([b]), [fresh(d)]);
    expect(shown(result)).toEqual([b.position]);
    expect(result).toMatchObject({ position: b.position, readAgain: true, buffered: [fresh(d)] });
  });

  test('a gap before a message that arrived before the read is final: the message belongs to a fork', () => {
    const [, x] = chain([25, 35], a.position, 2) as [ChainLink, ChainLink];
    const result = mergeIntoChain(b.position, page([], b.position), [beforeRead(x)]);
    expect(shown(result)).toEqual(['trimmed', x.position]);
  });

  test('buffered live messages wait for the rest of the history', () => {
    const result = mergeIntoChain(a.position, page([b], e.position, true), [beforeRead(d), beforeRead(e)]);
    expect(shown(result)).toEqual([b.position]);
    expect(result.buffered.map(({ link }) => link)).toEqual([d, e]);
  });
});

/**
 * The chain of a server and a reader at some position in it. The messages are divided between pages and
 * live messages in every way.
 */
const scenarios = fc
  .record({
    gaps: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 30, size: 'max' }),
    readerAt: fc.nat(29),
    pageSize: fc.integer({ min: 1, max: 7 }),
    trimmed: fc.nat(29),
    live: fc.array(fc.nat(29), { maxLength: 40, size: 'max' }),
    order: fc.array(fc.nat(), { minLength: 40, maxLength: 40 }),
  })
  .map(({ gaps, readerAt, trimmed, ...rest }) => {
    let time = 100;
    const links = chain(gaps.map((gap) => (time += gap)));
    return { links, readerAt: readerAt % links.length, trimmed: trimmed % links.length, ...rest };
  });

test('any split of a chain between history and live messages yields every message once, in order', () => {
  fc.assert(
    fc.property(scenarios, ({ links, readerAt, pageSize, live, order }) => {
      const start = links[readerAt] as ChainLink;
      // Pub/sub can deliver any subset of the messages, any number of times and in any order.
      const arrived = live.map((at) => links[at % links.length] as ChainLink);
      const shuffled = arrived.map((link, at) => ({ link, by: order[at] as number }));
      shuffled.sort((left, right) => left.by - right.by);
      let held: readonly BufferedMessage<ChainLink>[] = shuffled.map(({ link, by }) => ({
        link,
        beforeRead: by % 2 === 0,
      }));
      let at: Position | undefined = start.position;
      const got: Position[] = [];
      for (let reading = 0; ; reading++) {
        expect(reading).toBeLessThan(100);
        const from = links.findIndex(({ position }) => position === at) + 1;
        const messages = links.slice(from, from + pageSize);
        const more = from + pageSize < links.length;
        const result: ReturnType<typeof mergeIntoChain<ChainLink>> = mergeIntoChain(
          at,
          page(messages, links.at(-1)?.position, more),
          held,
        );
        for (const step of result.steps) {
          expect(step.type).toBe('message');
          if (step.type === 'message') got.push(step.message.position);
        }
        at = result.position;
        held = result.buffered.map(({ link }) => beforeRead(link));
        if (!result.readAgain) break;
      }
      expect(held).toEqual([]);
      expect(got).toEqual(links.slice(readerAt + 1).map(({ position }) => position));
    }),
  );
});

test('a trimmed history causes no duplicates, no reordering and no unannounced gap', () => {
  fc.assert(
    fc.property(scenarios, ({ links, readerAt, trimmed, live }) => {
      const start = links[readerAt] as ChainLink;
      const kept = links.slice(trimmed).filter((_, at) => at + trimmed > readerAt);
      const held = live.map((at) => beforeRead(links[at % links.length] as ChainLink));
      const result = mergeIntoChain(start.position, page(kept, links.at(-1)?.position), held);
      let last = start.position;
      let announced = false;
      for (const step of result.steps) {
        if (step.type === 'break') {
          expect(step.reason).toBe('trimmed');
          announced = true;
          continue;
        }
        // Messages are in order, and a missing predecessor is announced just before.
        expect(announced).toBe(step.message.previous !== last);
        expect(Number.parseInt(step.message.position, 10)).toBeGreaterThan(Number.parseInt(last, 10));
        last = step.message.position;
        announced = false;
      }
      expect(announced).toBe(last !== links.at(-1)?.position);
      expect(result.position).toBe(links.at(-1)?.position);
    }),
  );
});

test('a fork is announced, and followed to its end', () => {
  fc.assert(
    fc.property(
      scenarios,
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 10 }),
      fc.boolean(),
      ({ links, readerAt, live }, gaps, withLive) => {
        const start = links[readerAt] as ChainLink;
        // The new master lost the reader's last message, and perhaps more, and continues with its own clock.
        const common = links.slice(0, Math.floor(readerAt / 2));
        let time = Number.parseInt(common.at(-1)?.position ?? '0', 10);
        const branch = chain(
          gaps.map((gap) => (time += gap)),
          common.at(-1)?.position,
          2,
        );
        const last = branch.at(-1) as ChainLink;
        const beyond = branch.filter(({ position }) => {
          return Number.parseInt(position, 10) > Number.parseInt(start.position, 10);
        });
        const old = live.slice(0, 5).map((at) => beforeRead(links[at % (readerAt + 1)] as ChainLink));
        const held = [...(withLive ? branch.map(beforeRead) : []), ...old];
        const result = mergeIntoChain(start.position, page(beyond, last.position), held);
        expect(result.steps[0]?.type).toBe('break');
        expect(result.position).toBe(last.position);
        const got = result.steps.flatMap((step) => (step.type === 'message' ? [step.message.position] : []));
        expect(new Set(got).size).toBe(got.length);
      },
    ),
  );
});
