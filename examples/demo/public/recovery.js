// What a room went through, for the timeline: the client recovers by itself.
import { useEffect, useRef, useState } from 'react';
import { useRollcall } from 'rollcall/react';
import { note, plural } from './shared.jsx';

/** Why messages may have been missed, by the reason of a discontinuity. */
const GAPS = {
  reconnected: 'the connection was lost',
  failover: 'another Redis took over',
  unresponsive: 'Redis did not answer',
  withdrawn: 'Redis withdrew the subscription',
  missed: 'a message did not arrive',
  trimmed: 'they are no longer in the history',
  wiped: 'Redis has lost the history',
  forked: 'Redis has lost messages in a failover',
  unavailable: 'the history cannot be read',
  overflow: 'this page read too slowly',
};

/** Why the user is not in the room, until they are in it again. */
export function useRefusal({ state, error }) {
  const [refusal, setRefusal] = useState();
  useEffect(() => {
    if (state === 'joined') setRefusal(undefined);
    if (state !== 'refused') return;
    setRefusal(error.message);
    note('bad', error.message);
  }, [state, error]);
  return refusal;
}

export function useNotedGaps(name, newest) {
  useEffect(() => {
    if (newest === undefined) return;
    const why = GAPS[newest.reason] ?? newest.reason;
    if (newest.recovered) note('good', `A gap in ${name} was filled from history: ${why}`);
    else note('bad', `Messages in ${name} may be missing: ${why}`);
  }, [name, newest]);
}

/** Notes how many messages of others a reconnect has brought. `messages`: those received. */
export function useNotedRecovery(name, state, messages, self) {
  const client = useRollcall();
  const hasJoined = useRef(false);
  /** Positions of the last message before the break, and of the latest one when the room was joined again. */
  const [before, setBefore] = useState();
  const [latest, setLatest] = useState();
  const last = messages.at(-1)?.position;

  useEffect(() => {
    if (state === 'joining' && hasJoined.current) setBefore((known) => known ?? last);
    hasJoined.current ||= state === 'joined';
  }, [state, last]);

  useEffect(() => {
    if (state !== 'joined' || before === undefined) return;
    const room = client.join(name);
    room.history({ limit: 1 }).then(
      ({ events }) => setLatest(events[0]?.position),
      () => setBefore(undefined),
    );
    void room.leave();
  }, [client, name, state, before]);

  useEffect(() => {
    const [first, end] = [before, latest].map((each) =>
      messages.findIndex(({ position }) => position === each),
    );
    if (latest === undefined || end === -1) return;
    const missed = messages.slice(first + 1, end + 1).filter(({ from }) => from !== self);
    if (missed.length > 0) note('good', `${plural(missed.length, 'missed message')} recovered in ${name}`);
    setBefore(undefined);
    setLatest(undefined);
  }, [name, self, messages, before, latest]);
}
