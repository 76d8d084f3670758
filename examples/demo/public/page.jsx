// The page: the entry form, and then the chat with its panels.
import { useCallback, useEffect, useReducer, useRef, useState } from 'react';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { RollcallProvider, useConnection, useEventStream } from 'rollcall/react';
import { Backstage, Fault, latest } from './backstage.jsx';
import { Bell } from './bell.jsx';
import { Counter } from './counter.js';
import { People, StatusSelect, usePeople } from './people.jsx';
import { Composer, Room } from './room.jsx';
import { ROOMS, Rooms } from './rooms.jsx';
import { endSession, lastUser, startSession } from './session.js';
import { Face, Icon, Toasts } from './shared.jsx';

const NAMES = ['ada', 'alan', 'barbara', 'dennis', 'edsger', 'frances', 'grace', 'ken', 'margaret', 'radia'];
/** A minute of the samples of all processes, and some more. */
const STATS = { events: ['stats'], limit: 270 };

function Page() {
  const samples = useEventStream('/events', STATS).events.map(({ data }) => data);
  const [session, setSession] = useState();
  return (
    <>
      {session ? (
        <RollcallProvider client={session.client}>
          <App session={session} samples={samples} />
        </RollcallProvider>
      ) : (
        <Entry nodes={latest(samples, 'front')?.nodes ?? []} onEnter={setSession} />
      )}
      <Toasts />
    </>
  );
}

const Title = () => (
  <h1>
    <span className="logo" aria-hidden="true" />
    <span>rollcall</span>
  </h1>
);

function Entry({ nodes, onEnter }) {
  const [problem, setProblem] = useState('');
  const [isBusy, setIsBusy] = useState(false);
  const nameField = useRef();
  const [name] = useState(lastUser?.name ?? NAMES[Math.floor(Math.random() * NAMES.length)]);

  const enter = useCallback(
    async (name, node) => {
      setIsBusy(true);
      try {
        onEnter(await startSession(name, node));
      } catch (error) {
        setProblem(error.message);
        setIsBusy(false);
        nameField.current.focus();
      }
    },
    [onEnter],
  );
  useEffect(() => {
    nameField.current.select();
    // A reload enters under the same name; another tab may use another name.
    if (lastUser) void enter(lastUser.name, lastUser.node);
  }, [enter]);

  const submit = (event) => {
    event.preventDefault();
    const { name, node } = event.currentTarget.elements;
    void enter(name.value.trim(), node.value);
  };
  return (
    <main id="entry">
      <form id="enter" className="card" onSubmit={submit}>
        <Title />
        <p>
          A chat over two server nodes that share nothing but Redis. Open it in two tabs, write in both, then
          kill a node during the conversation: no message is lost.
        </p>
        <label htmlFor="name">Your name</label>
        <input
          id="name"
          ref={nameField}
          defaultValue={name}
          maxLength={24}
          required
          autoComplete="off"
          autoCapitalize="none"
          spellCheck={false}
        />
        <label htmlFor="node">Connect to</label>
        <select id="node">
          <option value="">any node</option>
          {nodes.map((node) => (
            <option key={node.name}>{node.name}</option>
          ))}
        </select>
        <p className="problem" role="alert">
          {problem}
        </p>
        <button className="main" type="submit" disabled={isBusy}>
          Join the chat
        </button>
      </form>
    </main>
  );
}

function App({ session, samples }) {
  const self = session.name;
  const front = latest(samples, 'front');
  /** All rooms that were joined. Those that were left count for the totals. */
  const [rooms, setRooms] = useState([{ name: 'lobby', counter: new Counter() }]);
  const [shown, setShown] = useState('lobby');
  const [view, setView] = useState('chat');
  /** The messages that the user has seen, and the number of unread ones, by room. */
  const [seen, setSeen] = useState({});
  const [unread, setUnread] = useState({});
  const [, countAgain] = useReducer((count) => count + 1, 0);
  const text = useRef();
  const people = usePeople(shown, self);

  const joined = rooms.filter(({ left }) => !left);
  const { counter } = joined.find(({ name }) => name === shown);
  const onSeen = useCallback((name, events) => setSeen((all) => ({ ...all, [name]: events })), []);
  const onUnread = useCallback((name, count) => setUnread((all) => ({ ...all, [name]: count })), []);
  const isSeen = ({ room, position }) => seen[room]?.some((event) => event.position === position) ?? false;

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
    setRooms(rooms.map((room) => (room.name === name ? { ...room, left: true } : room)));
    if (name === shown) setShown('lobby');
  };

  useEffect(() => text.current.focus(), []);
  const sumOfUnread = Object.values(unread).reduce((sum, count) => sum + count, 0);
  useEffect(() => {
    document.title = `${sumOfUnread > 0 ? `(${sumOfUnread}) ` : ''}${self} · rollcall demo`;
  }, [sumOfUnread, self]);

  return (
    <div id="app" data-view={view}>
      <header id="top">
        <Title />
        <Connection node={session.node} />
        <div id="me">
          <StatusSelect people={people} />
          <Bell isSeen={isSeen} showRoom={showRoom} />
          <span id="self">
            <Face name={self} />
            <b className="wide">{self}</b>
          </span>
          <button
            type="button"
            id="leave"
            className="icon"
            aria-label="Leave the chat"
            onClick={() => endSession(session)}
          >
            <Icon path="M8 3.5H4.5v13H8M12.5 6.5 16 10l-3.5 3.5M15.5 10H8" />
          </button>
        </div>
      </header>
      <main id="panels">
        <div id="side">
          <Rooms
            joined={joined.map(({ name }) => name)}
            shown={shown}
            counts={front?.rooms}
            onUnread={onUnread}
            showRoom={showRoom}
            leaveRoom={leaveRoom}
          />
          <People room={shown} people={people} self={self} />
        </div>
        <section id="chat" aria-labelledby="room-title">
          <header>
            <h2 id="room-title">{shown}</h2>
            <p id="room-about">{ROOMS[shown]}</p>
            <Totals counters={rooms.map(({ counter }) => counter)} />
          </header>
          <Fault front={front} />
          <div id="logs">
            {joined.map(({ name, counter }) => (
              <Room
                key={name}
                name={name}
                counter={counter}
                self={self}
                isShown={name === shown}
                onSeen={onSeen}
                onCount={countAgain}
              />
            ))}
          </div>
          <Composer name={shown} counter={counter} text={text} onCount={countAgain} />
        </section>
        <Backstage samples={samples} />
      </main>
      <nav id="tabs" aria-label="Views">
        {Object.entries({ chat: 'Chat', side: 'People', backstage: 'Backstage' }).map(([value, label]) => (
          <button
            key={value}
            type="button"
            value={value}
            aria-pressed={value === view}
            onClick={() => setView(value)}
          >
            {label}
          </button>
        ))}
      </nav>
    </div>
  );
}

function Connection({ node }) {
  const { state } = useConnection();
  return (
    <p id="connection" role="status" data-state={state}>
      {{ open: node, closed: 'disconnected' }[state] ?? 'reconnecting'}
    </p>
  );
}

function Totals({ counters }) {
  const sum = (what) => counters.reduce((all, counter) => all + counter[what], 0);
  return (
    <p id="counter">
      This tab: sent <b>{sum('sent')}</b>, received <b>{sum('received')}</b>, lost <b>{sum('lost')}</b>,
      doubled <b>{sum('doubled')}</b>
    </p>
  );
}

createRoot(document.body).render(<Page />);
