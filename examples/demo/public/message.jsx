// One message of a room.
import { clock, Face, list } from './shared.jsx';

/** Messages of one user within this many ms are grouped. */
const GROUP_WITHIN = 180_000;

export function Message({ message, self, isContinued, readers, hasGap, resend }) {
  const { from, at, data, status, error, position } = message;
  const others = readers.filter((user) => position && user !== self && user !== from);
  const label = others.length > 0 ? `Read by ${list(others)}` : undefined;
  const names = ['message', from === self && 'mine', isContinued && 'continued', status];
  return (
    <>
      <li className={names.filter(Boolean).join(' ')}>
        <Face name={from ?? ''} />
        <div className="body">
          <p className="head">
            <b>{from === self ? 'You' : from}</b> {at && <time>{clock(at)}</time>}
          </p>
          <p className="text">{format(data.text, self)}</p>
          {status === 'failed' && (
            <button type="button" className="retry" title={error.message} onClick={resend}>
              Not sent. Try again
            </button>
          )}
        </div>
        {label && (
          <span className="readers" role="img" aria-label={label} title={label}>
            {others.slice(0, 5).map((user) => (
              <Face key={user} name={user} />
            ))}
          </span>
        )}
      </li>
      {hasGap && <li className="gap">Messages may be missing here</li>}
    </>
  );
}

/** Whether a message soon follows another one of the same user. */
export const continues = ({ from, at }, before) => before?.from === from && !(at - before.at > GROUP_WITHIN);

/** A URL without the punctuation behind it, or a mention. Only http and https: other schemes could run scripts. */
const LINK_OR_MENTION =
  /(https?:\/\/[^\s<>"]*[^\s<>"'.,:;!?)\]}]|(?<![\p{L}\p{N}_])@[\p{L}\p{N}][\p{L}\p{N}_-]{0,23})/u;

const format = (text, self) =>
  text.split(LINK_OR_MENTION).map((part, i) => {
    if (i % 2 === 0) return part;
    const key = `${i} ${part}`;
    if (part[0] === '@')
      return (
        <mark key={key} className={part === `@${self}` ? 'me' : ''}>
          {part}
        </mark>
      );
    return (
      <a key={key} href={part} target="_blank" rel="noopener noreferrer">
        {part}
      </a>
    );
  });
