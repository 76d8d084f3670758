// One room: its messages, older ones on demand, read receipts, and messages that are being sent.
import { useEffect, useLayoutEffect, useRef } from 'react';
import { useRoom, useRoomEvent, useTyping, useUnread } from 'rollcall/react';
import { continues, Message } from './message.jsx';
import { useNotedGaps, useNotedRecovery, useRefusal } from './recovery.js';
import { Dot, Icon, list, SecondTab, useIsVisible } from './shared.jsx';

/** Delay in ms of a read receipt, so that a burst of messages is one. */
const READ_DELAY = 300;
const PAGE = 50;
const MESSAGES = ['message'];
const OPTIONS = { last: PAGE, members: true, info: {}, events: MESSAGES };
/**
 * @param isShown false: another room is shown, and this one goes on in the background
 * @param onSeen called with the messages that the user can see
 */
export function Room({ name, counter, self, isShown, onSeen, onCount }) {
  const room = useRoom(name, OPTIONS);
  const { markRead } = useUnread(name, { events: MESSAGES });
  const log = useRef();
  const isVisible = useIsVisible(log);
  // Clients can send any data.
  const messages = room.events.filter(({ data }) => typeof data?.text === 'string');
  const received = messages.filter(({ status }) => status === 'received');
  const newest = messages.at(-1);

  useRoomEvent(name, 'message', (data) => {
    counter.receive(Object(data));
    onCount();
  });

  useLayoutEffect(() => {
    // The log keeps its distance from the end: own messages, and new ones for a reader who is near it, scroll it there.
    if (newest?.status === 'pending' || log.current.scrollTop > -80) log.current.scrollTop = 0;
  }, [newest]);

  useEffect(() => {
    if (!isVisible) return;
    markRead();
    onSeen(name, room.events);
  }, [isVisible, name, room.events, markRead, onSeen]);
  useReadReceipt(isVisible ? received.at(-1)?.position : undefined, room.update);
  useNotedRecovery(name, room.state, received, self);
  useNotedGaps(name, room.discontinuities.at(-1));
  const refusal = useRefusal(room);

  const readers = Map.groupBy(room.members.values(), ({ info }) => info?.read);
  const item = (message, i, all) => (
    <Message
      key={message.key}
      message={message}
      self={self}
      isContinued={continues(message, all[i - 1])}
      readers={(readers.get(message.position) ?? []).map(({ user }) => user)}
      hasGap={room.discontinuities.some(({ after, recovered }) => after === message.key && !recovered)}
      resend={() => room.resend(message.key)}
    />
  );
  const items = messages.map(item);
  return (
    <div
      className="log"
      ref={log}
      role="log"
      aria-label={`Messages in ${name}`}
      // Screen readers must not announce the history.
      aria-live={room.state === 'joined' ? 'polite' : 'off'}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keyboard.
      tabIndex={0}
      hidden={!isShown}
    >
      <div>
        {room.hasOlder && received.length >= PAGE && <Older load={room.loadOlder} />}
        {room.state === 'joined' && messages.length === 0 && (
          <p className="empty">
            No messages yet. <SecondTab>Open a second tab</SecondTab>, write in both, then kill a node.
          </p>
        )}
        <ol className="messages">{items.slice(0, received.length)}</ol>
        <ol className="messages outbox" aria-label="Sending">
          {items.slice(received.length)}
        </ol>
        {refusal && (
          <p className="refused" role="alert">
            {refusal}{' '}
            <button type="button" onClick={room.retry}>
              Join again
            </button>
          </p>
        )}
      </div>
    </div>
  );
}

/** Loads older messages when it is scrolled into view, or pressed. */
function Older({ load }) {
  const button = useRef();
  const isVisible = useIsVisible(button);
  // After a failure the button stays for another try.
  const tryToLoad = () => load(PAGE).catch(() => {});
  useEffect(() => {
    if (isVisible) load(PAGE).catch(() => {});
  }, [isVisible, load]);
  return (
    <button type="button" className="older" ref={button} onClick={tryToLoad}>
      Older messages
    </button>
  );
}

/** The read position is part of this member's info. */
function useReadReceipt(read, update) {
  useEffect(() => {
    if (!read) return;
    const timer = setTimeout(() => update({ read }).catch(() => {}), READ_DELAY);
    return () => clearTimeout(timer);
  }, [read, update]);
}

const SEND = { events: MESSAGES, select: ({ send }) => send };

/** The form for new messages, and who else is writing one. */
export function Composer({ name, counter, text, onCount }) {
  const send = useRoom(name, SEND);
  const { typingUsers, startTyping, stopTyping } = useTyping(name);

  const submit = (event) => {
    event.preventDefault();
    const written = text.current.value.trim();
    if (written === '') return;
    const numbers = counter.next();
    onCount();
    // The room shows a failure, and repeats the message when the user wants it.
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
  const who =
    typingUsers.length > 3
      ? 'Several people are'
      : `${list(typingUsers)} ${typingUsers.length === 1 ? 'is' : 'are'}`;
  return (
    <>
      <p id="typing">
        {typingUsers.length > 0 && (
          <>
            <Dot />
            <Dot />
            <Dot />
            {who} typing
          </>
        )}
      </p>
      <form id="composer" onSubmit={submit}>
        <textarea
          id="text"
          ref={text}
          rows={1}
          maxLength={1_000}
          enterKeyHint="send"
          autoComplete="off"
          aria-label="Message"
          placeholder={`Write to ${name}`}
          onKeyDown={submitByKey}
          // The client sends few frames for many key strokes.
          onInput={({ target }) => (target.value === '' ? stopTyping() : startTyping())}
        />
        <button className="main icon" type="submit" aria-label="Send">
          <Icon path="m3 10 14-6.5L12.5 17 10 11.5 3 10Zm7 1.5 7-8" />
        </button>
      </form>
    </>
  );
}
