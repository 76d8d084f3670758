// One message of a room.
import { Button, clock, Face, list } from './shared.jsx';

/** Messages of one user within this many ms are grouped. */
const GROUP_WITHIN = 180_000;
/** A URL without the punctuation behind it, or a mention. Only http and https: other schemes could run scripts. */
const LINK_OR_MENTION =
  /(https?:\/\/[^\s<>"]*[^\s<>"'.,:;!?)\]}]|(?<![\p{L}\p{N}_])@[\p{L}\p{N}][\p{L}\p{N}_-]{0,23})/u;

/**
 * @param before the message before this one, if any
 * @param readers members whose last read message is this one
 */
export function Message({ message, before, self, readers, resend }) {
  const { from, at, data, status, error } = message;
  const isMine = from === self;
  const isContinued = before?.from === from && !(at - before.at > GROUP_WITHIN);
  const others = readers.map(({ user }) => user).filter((user) => user !== self && user !== from);
  return (
    <li className={`message ${status} ${isMine ? 'mine' : ''} ${isContinued ? 'continued' : ''}`}>
      <Face name={from} />
      <div>
        <p className="head">
          <b>{isMine ? 'You' : from}</b> <small>{at && clock(at)}</small>
        </p>
        <p className="text">{format(data.text, self)}</p>
        {status === 'failed' && (
          <Button className="danger" title={error.message} onClick={resend}>
            Not sent. Try again
          </Button>
        )}
      </div>
      {others.length > 0 && <small className="readers">Read by {list(others)}</small>}
    </li>
  );
}

/** Links and mentions become elements: every second part. */
const format = (text, self) =>
  text.split(LINK_OR_MENTION).map((part, i) => {
    const key = `${i} ${part}`;
    if (i % 2 === 0) return part;
    return part.startsWith('@') ? (
      <mark key={key} className={part === `@${self}` ? 'me' : ''}>
        {part}
      </mark>
    ) : (
      <a key={key} href={part} target="_blank" rel="noopener noreferrer">
        {part}
      </a>
    );
  });
