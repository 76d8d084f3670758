// One room: its messages, older ones on demand, read receipts, and messages that are being sent.
import { Fragment, useEffect, useLayoutEffect, useRef, useState } from 'react';
import { useRoom, useRoomEvent, useTyping, useUnread } from 'rollcall/react';
import { Message } from './message.jsx';
import { Button, Icon, list, note, plural, SecondTab, useIsVisible } from './shared.jsx';

/** Delay in ms of a read receipt, so that a burst of messages is one. */
const READ_DELAY = 300;
/** Time in ms without another missed message after which all of them have arrived. */
const SETTLED = 500;
const PAGE = 50;
const MESSAGES = ['message'];
const OPTIONS = { last: PAGE, members: true, info: {}, events: MESSAGES };
const SEND = { events: MESSAGES, select: ({ send }) => send };

/**
 * @param isShown false: another room is shown, and this one goes on in the background
 * @param onSeen called with the messages that the user can see
 */
export function Room({ name, counter, self, isShown, onSeen, onCount }) {
  const room = useRoom(name, OPTIONS);
  const { events, discontinuities, members, state, update } = room;
  const { markRead } = useUnread(name, { events: MESSAGES });
  const log = useRef();
  const isVisible = useIsVisible(log);
  const refusal = useTimeline(name, room, self);
  // Clients can send any data.
  const messages = events.filter(({ data }) => typeof data?.text === 'string');
  const received = messages.filter(({ status }) => status === 'received');
  const newest = messages.at(-1);

  useRoomEvent(name, 'message', (data) => {
    counter.receive(Object(data));
    onCount();
  });
  useLayoutEffect(() => {
    // The log scrolls from its end. A reader of older messages stays there, unless they write one.
    if (newest?.status === 'pending' || log.current.scrollTop > -80) log.current.scrollTop = 0;
  }, [newest]);
  useEffect(() => {
    if (!isVisible) return;
    markRead();
    onSeen(name, events);
  }, [isVisible, name, events, markRead, onSeen]);
  const read = isVisible ? received.at(-1)?.position : undefined;
  useEffect(() => {
    if (!read) return;
    // The read position is part of this member's info.
    const timer = setTimeout(() => update({ read }).catch(() => {}), READ_DELAY);
    return () => clearTimeout(timer);
  }, [read, update]);

  const hasOlder = room.hasOlder && received.length >= PAGE;
  // After a failure the button stays for another try.
  const loadOlder = () => room.loadOlder(PAGE).catch(() => {});
  const scroll = ({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
    if (hasOlder && scrollHeight + scrollTop - clientHeight < 40) void loadOlder();
  };
  const readers = Map.groupBy(members.values(), ({ info }) => info?.read);
  const items = messages.map((message, i) => (
    <Fragment key={message.key}>
      <Message
        message={message}
        before={messages[i - 1]}
        self={self}
        readers={(message.position && readers.get(message.position)) || []}
        resend={() => room.resend(message.key)}
      />
      {discontinuities.some(({ after, recovered }) => after === message.key && !recovered) && (
        <li className="hint quiet">Messages may be missing here</li>
      )}
    </Fragment>
  ));
  return (
    <div
      className="log"
      ref={log}
      role="log"
      aria-label={`Messages in ${name}`}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keyboard.
      tabIndex={0}
      hidden={!isShown}
      onScroll={scroll}
      // Screen readers must not announce the history.
      aria-live={state === 'joined' ? 'polite' : 'off'}
    >
      <div>
        {hasOlder && (
          <p className="hint">
            <Button onClick={loadOlder}>Older messages</Button>
          </p>
        )}
        {state === 'joined' && messages.length === 0 && (
          <p className="hint quiet">
            No messages yet. <SecondTab>Open a second tab</SecondTab>, write in both, then kill a node.
          </p>
        )}
        <ol className="messages">{items.slice(0, received.length)}</ol>
        <ol className="messages outbox" aria-label="Sending">
          {items.slice(received.length)}
        </ol>
        {refusal && (
          <p className="card row wrap bad" role="alert">
            {refusal} <Button onClick={room.retry}>Join again</Button>
          </p>
        )}
      </div>
    </div>
  );
}

/**
 * Adds to the timeline what the room went through; the client recovers by itself. Returns why the user is not in the
 * room, until they are in it again.
 */
function useTimeline(name, { state, error, discontinuities }, self) {
  const [refusal, setRefusal] = useState();
  const joins = useRef(0);
  const [missed, setMissed] = useState(0);
  const gap = discontinuities.at(-1);

  useEffect(() => {
    if (state === 'joining') joins.current++;
    if (state === 'joined') setRefusal(undefined);
    if (state !== 'refused') return;
    setRefusal(error.message);
    note('bad', error.message);
  }, [state, error]);
  useEffect(() => {
    if (gap?.recovered) note('good', `A gap in ${name} was filled from history`);
    else if (gap) note('bad', `Messages in ${name} may be missing`);
  }, [name, gap]);
  useRoomEvent(name, 'message', (_, { from, replayed }) => {
    // The first join brings the last messages.
    if (replayed && joins.current > 1 && from !== self) setMissed((count) => count + 1);
  });
  useEffect(() => {
    if (missed === 0) return;
    const timer = setTimeout(() => {
      note('good', `${plural(missed, 'missed message')} recovered in ${name}`);
      setMissed(0);
    }, SETTLED);
    return () => clearTimeout(timer);
  }, [name, missed]);
  return refusal;
}

/** The form for new messages, and who else is writing one. `text`: a ref to its field. */
export function Composer({ name, counter, text, onCount }) {
  const send = useRoom(name, SEND);
  const { typingUsers, startTyping, stopTyping } = useTyping(name);
  const count = typingUsers.length;

  const submit = (event) => {
    event.preventDefault();
    const written = text.current.value.trim();
    if (written === '') return;
    const numbers = counter.next();
    onCount();
    // The room lists a failure, with a button that tries again.
    send('message', { text: written, ...numbers }).then(
      () => counter.confirm(numbers),
      () => {},
    );
    stopTyping();
    text.current.value = '';
  };
  const submitByKey = (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing) submit(event);
  };
  // The client sends few frames for many key strokes.
  const type = ({ target }) => (target.value === '' ? stopTyping() : startTyping());
  return (
    <>
      <p id="typing" className="quiet">
        {count > 0 && `${list(typingUsers)} ${count === 1 ? 'is' : 'are'} typing`}
      </p>
      <form id="composer" className="row" onSubmit={submit}>
        <textarea
          id="text"
          ref={text}
          rows={1}
          maxLength={1_000}
          enterKeyHint="send"
          aria-label="Message"
          placeholder={`Write to ${name}`}
          onKeyDown={submitByKey}
          onInput={type}
        />
        <button className="main icon" type="submit" aria-label="Send">
          <Icon path="m3 10 14-6.5L12.5 17 10 11.5 3 10Zm7 1.5 7-8" />
        </button>
      </form>
    </>
  );
}
