// The page: the entry form, and then the chat with its panels.
import { useCallback, useEffect, useReducer, useRef, useState } from 'react';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { RollcallProvider, useConnection, useEventStream } from 'rollcall/react';
import { Backstage } from './backstage.jsx';
import { Bell } from './bell.jsx';
import { Counter } from './counter.js';
import { Entry } from './entry.jsx';
import { People, StatusSelect, usePeople } from './people.jsx';
import { Composer, Room } from './room.jsx';
import { ROOMS, Rooms } from './rooms.jsx';
import { endSession, lastUser, startSession } from './session.js';
import { Button, command, Dot, Face, Icon, useNotes } from './shared.jsx';

const VIEWS = { chat: 'Chat', side: 'People', backstage: 'Backstage' };
/** A minute of the samples of all processes, and some more. */
const STATS = { events: ['stats'], limit: 270 };
/** Time in ms without a sample after which Redis counts as away; it brings one every second. */
const SILENCE = 3_500;

function Page() {
  const samples = useEventStream('/events', STATS).events.map(({ data }) => data);
  const front = samples.findLast(({ source }) => source === 'front');
  const [session, setSession] = useState();
  // A reload enters under the same name; another tab may use another name.
  useEffect(() => {
    if (lastUser) startSession(lastUser.name, lastUser.node).then(setSession, () => {});
  }, []);
  const toasts = useNotes().filter(({ kind }) => kind === 'toast');
  return (
    <>
      {session ? (
        <RollcallProvider client={session.client}>
          <App session={session} samples={samples} front={front} />
        </RollcallProvider>
      ) : (
        <Entry nodes={front?.nodes ?? []} onEnter={setSession} />
      )}
      <div id="toasts" role="status">
        {toasts.map(({ key, text }) => (
          <p key={key}>{text}</p>
        ))}
      </div>
    </>
  );
}

function App({ session, samples, front }) {
  const self = session.name;
  /** All rooms that were joined. Those that were left count for the totals. */
  const [rooms, setRooms] = useState([{ name: 'lobby', counter: new Counter() }]);
  const [shown, setShown] = useState('lobby');
  const [view, setView] = useState('chat');
  /** The messages that the user has seen, by room. */
  const [seen, setSeen] = useState({});
  const [, onCount] = useReducer((count) => count + 1, 0);
  const text = useRef();
  const people = usePeople(shown, self);
  useEffect(() => text.current.focus(), []);

  const joined = rooms.filter(({ hasLeft }) => !hasLeft);
  const { counter } = joined.find(({ name }) => name === shown);
  const total = (what) => rooms.reduce((sum, { counter }) => sum + counter[what], 0);
  const onSeen = useCallback((room, messages) => setSeen((all) => ({ ...all, [room]: messages })), []);
  const isSeen = ({ room, position }) =>
    seen[room]?.some((message) => message.position === position) ?? false;

  const showRoom = (name) => {
    // Shown first, because a hidden field takes no focus.
    flushSync(() => {
      if (!joined.some((room) => room.name === name)) setRooms([...rooms, { name, counter: new Counter() }]);
      setShown(name);
      setView('chat');
    });
    text.current.focus();
  };
  const leaveRoom = (name) => {
    setRooms(rooms.map((room) => (room.name === name ? { ...room, hasLeft: true } : room)));
    if (name === shown) setShown('lobby');
  };

  const names = joined.map(({ name }) => name);
  return (
    <div id="app" data-view={view}>
      <header id="top" className="row bar">
        <h1>rollcall</h1>
        <Connection node={session.node} />
        <StatusSelect people={people} />
        <Bell isSeen={isSeen} showRoom={showRoom} />
        <Face name={self} />
        <b className="self">{self}</b>
        <Button id="leave" className="icon" aria-label="Leave the chat" onClick={() => endSession(session)}>
          <Icon path="M8 3.5H4.5v13H8M12.5 6.5 16 10l-3.5 3.5M15.5 10H8" />
        </Button>
      </header>
      <main id="panels">
        <div id="side">
          <Rooms joined={names} counts={front?.rooms} {...{ shown, self, showRoom, leaveRoom }} />
          <People room={shown} people={people} self={self} />
        </div>
        <section id="chat" className="column" aria-labelledby="room-title">
          <header className="bar">
            <h2 id="room-title">{shown}</h2>
            <p className="quiet">{ROOMS[shown]}</p>
            <p className="quiet" id="counter">
              This tab: sent <b>{total('sent')}</b>, received <b>{total('received')}</b>, lost{' '}
              <b>{total('lost')}</b>, doubled <b>{total('doubled')}</b>
            </p>
          </header>
          <Fault front={front} />
          {joined.map((room) => (
            <Room key={room.name} {...room} isShown={room.name === shown} {...{ self, onSeen, onCount }} />
          ))}
          <Composer name={shown} counter={counter} text={text} onCount={onCount} />
        </section>
        <Backstage samples={samples} front={front} />
      </main>
      <nav id="tabs" aria-label="Views">
        {Object.entries(VIEWS).map(([value, label]) => (
          <Button key={value} value={value} aria-pressed={value === view} onClick={() => setView(value)}>
            {label}
          </Button>
        ))}
      </nav>
    </div>
  );
}

function Connection({ node }) {
  const { state } = useConnection();
  return (
    <p id="connection" role="status" data-status={state}>
      <Dot /> {{ open: node, closed: 'disconnected' }[state] ?? 'reconnecting'}
    </p>
  );
}

/** Says above the messages what does not work, and what becomes of them. */
function Fault({ front }) {
  const { state } = useConnection();
  const [isSilent, setIsSilent] = useState(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: each sample is another object.
  useEffect(() => {
    setIsSilent(false);
    const timer = setTimeout(setIsSilent, SILENCE, true);
    return () => clearTimeout(timer);
  }, [front]);

  const isDown = state !== 'open' && state !== 'closed' && front?.nodes.every(({ up }) => !up);
  let fault = 'Reconnecting. Your messages wait here until then.';
  if (isDown) fault = 'Both servers are down. Your messages wait here, and are sent when one is back.';
  if (state === 'closed') fault = 'Disconnected. Reload the page to come back.';
  if (state === 'open')
    fault = isSilent && 'Redis does not answer. Your messages wait here, and nobody goes offline.';
  return (
    <div id="fault" role="status" className="row wrap bar">
      {fault && <span>{fault}</span>}
      {isDown && <Button onClick={() => command('/nodes/node-1/start')}>Start a server</Button>}
    </div>
  );
}

createRoot(document.body).render(<Page />);
