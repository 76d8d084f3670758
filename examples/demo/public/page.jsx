// The page: the entry form, and then the chat with its panels.
import { useCallback, useEffect, useReducer, useRef, useState } from 'react';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { RollcallProvider, useConnection, useEventStream } from 'rollcall/react';
import { Backstage, Fault } from './backstage.jsx';
import { Bell } from './bell.jsx';
import { Counter } from './counter.js';
import { People, StatusSelect, usePeople } from './people.jsx';
import { Composer, Room } from './room.jsx';
import { ROOMS, Rooms } from './rooms.jsx';
import { endSession, lastUser, startSession } from './session.js';
import { Button, Dot, Face, Icon, Toasts } from './shared.jsx';

const NAMES = ['ada', 'alan', 'barbara', 'dennis', 'edsger', 'frances', 'grace', 'ken', 'margaret', 'radia'];
const VIEWS = { chat: 'Chat', side: 'People', backstage: 'Backstage' };
/** A minute of the samples of all processes, and some more. */
const STATS = { events: ['stats'], limit: 270 };

function Page() {
  const samples = useEventStream('/events', STATS).events.map(({ data }) => data);
  const front = samples.findLast(({ source }) => source === 'front');
  const [session, setSession] = useState();
  return (
    <>
      {session ? (
        <RollcallProvider client={session.client}>
          <App session={session} samples={samples} front={front} />
        </RollcallProvider>
      ) : (
        <Entry nodes={front?.nodes ?? []} onEnter={setSession} />
      )}
      <Toasts />
    </>
  );
}

const Title = () => (
  <h1 className="row">
    <span className="logo" />
    rollcall
  </h1>
);

function Entry({ nodes, onEnter }) {
  const [problem, setProblem] = useState('');
  const [isBusy, setIsBusy] = useState(false);
  const form = useRef();
  const [name] = useState(lastUser?.name ?? NAMES[Math.floor(Math.random() * NAMES.length)]);

  const enter = useCallback(
    async (name, node) => {
      setIsBusy(true);
      try {
        onEnter(await startSession(name, node));
      } catch (error) {
        setProblem(error.message);
        setIsBusy(false);
        form.current.elements.name.focus();
      }
    },
    [onEnter],
  );
  useEffect(() => {
    form.current.elements.name.select();
    // A reload enters under the same name; another tab may use another name.
    if (lastUser) void enter(lastUser.name, lastUser.node);
  }, [enter]);

  const submit = (event) => {
    event.preventDefault();
    const { name, node } = form.current.elements;
    void enter(name.value.trim(), node.value);
  };
  return (
    <main id="entry">
      <form className="card" ref={form} onSubmit={submit}>
        <Title />
        <p className="quiet">
          A chat over two server nodes that share nothing but Redis. Open it in two tabs, write in both, then
          kill a node during the conversation: no message is lost.
        </p>
        <label htmlFor="name">Your name</label>
        <input
          id="name"
          defaultValue={name}
          maxLength={24}
          required
          autoComplete="off"
          autoCapitalize="none"
        />
        <label htmlFor="node">Connect to</label>
        <select id="node">
          <option value="">any node</option>
          {nodes.map((node) => (
            <option key={node.name}>{node.name}</option>
          ))}
        </select>
        <p className="bad" role="alert">
          {problem}
        </p>
        <button className="main" type="submit" disabled={isBusy}>
          Join the chat
        </button>
      </form>
    </main>
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
        <Title />
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
          <Button
            key={value}
            className="plain"
            value={value}
            aria-pressed={value === view}
            onClick={() => setView(value)}
          >
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

createRoot(document.body).render(<Page />);
