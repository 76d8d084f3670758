// The members of the shown room, with their status and their devices, and the user's own status.
import { useEffect, useState } from 'react';
import { useConnection, usePresence, useRollcall, useRoom } from 'rollcall/react';
import { Button, clock, Dot, Face, plural, SecondTab, toast } from './shared.jsx';

/** Delay in ms before the devices are requested, so that many changes need one request. */
const REQUEST_DELAY = 200;
/** Duration of a timed status in ms. */
const MINUTE = 60_000;
const OPTIONS = { members: true, events: [] };

export function usePeople(room, self) {
  const client = useRollcall();
  const { state: connection } = useConnection();
  const view = useRoom(room, OPTIONS);
  const isIn = view.state !== 'refused';
  // This user always: an invisible one, and one who was put out, is no member.
  const users = [...new Set([self, ...(isIn ? view.members.keys() : [])])].sort();
  const presences = usePresence(users);

  /** The status of this device, and that of all devices of this user: null for that of each. */
  const [device, setDevice] = useState('online');
  const [{ people, own }, setDetails] = useState({ people: {}, own: null });
  // biome-ignore lint/correctness/useExhaustiveDependencies: devices may change together with a presence or a member.
  useEffect(() => {
    if (connection !== 'open') return;
    const request = () => client.request('people', users.slice(0, 100)).then(setDetails, () => {});
    const timer = setTimeout(request, REQUEST_DELAY);
    return () => clearTimeout(timer);
  }, [client, connection, view.members, presences]);

  async function setStatus(value) {
    const [status, duration] = { timed: ['busy', MINUTE], invisible: ['invisible'] }[value] ?? [null];
    setDetails({ people, own: status });
    if (status === null) setDevice(value);
    try {
      // A status of this device ends one of all devices.
      if (status === null) void client.setStatus(value).catch(() => {});
      if (status !== own || duration) await client.request('status', { status, duration });
    } catch (error) {
      setDetails({ people, own });
      toast(`Your status was not set: ${error.message}`);
    }
  }

  const list = users.map((user) => {
    const { sockets = [], ownStatus } = people[user] ?? {};
    const seen = user === self && own === 'invisible' ? own : (presences.get(user)?.status ?? 'online');
    // Without a connection, what was true before may have changed.
    const status = connection === 'open' ? seen : 'unknown';
    const until = status === 'busy' ? ownStatus?.until : undefined;
    return { user, status, until, devices: sockets.map(({ meta }) => `${meta.device} on ${meta.node}`) };
  });
  return { list, count: isIn ? view.count : 0, status: { busy: 'timed' }[own] ?? own ?? device, setStatus };
}

export const StatusSelect = ({ people }) => (
  <select
    id="status"
    aria-label="Your status"
    value={people.status}
    onChange={({ target }) => people.setStatus(target.value)}
  >
    <optgroup label="This device">
      <option>online</option>
      <option>away</option>
      <option>busy</option>
    </optgroup>
    <optgroup label="All your devices">
      <option value="timed">busy for 1 minute</option>
      <option>invisible</option>
    </optgroup>
  </select>
);

export function People({ room, people, self }) {
  const client = useRollcall();
  const kick = (user) =>
    client
      .request('kick', { room, user })
      .catch((error) => toast(`${user} was not put out: ${error.message}`));
  return (
    <section id="people" aria-labelledby="people-title">
      <h2 id="people-title">People here: {people.count}</h2>
      <ul>
        {people.list.map(({ user, status, until, devices }) => (
          <li key={user} className="row" data-key={user} data-status={status}>
            <Face name={user} />
            <Dot />
            <span className="name">
              <b>{user === self ? `${user} (you)` : user}</b>{' '}
              <small className="status">{until ? `busy until ${clock(until)}` : status}</small>
              <small>
                {devices.length > 1 && `${plural(devices.length, 'device')}: `}
                {devices.join(', ')}
              </small>
            </span>
            {user !== self && (
              <Button aria-label={`Put out ${user}`} onClick={() => kick(user)}>
                Put out
              </Button>
            )}
          </li>
        ))}
      </ul>
      {people.list.length === 1 && (
        <p className="quiet">
          Only you. <SecondTab>Open a second tab</SecondTab> and sign in as somebody else.
        </p>
      )}
    </section>
  );
}
