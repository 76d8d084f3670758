// The list of rooms, with the number of people in each and the unread messages of those that were joined.
import { useEffect } from 'react';
import { useRoom, useUnread } from 'rollcall/react';
import { plural } from './shared.jsx';

export const ROOMS = {
  lobby: 'Where everyone starts.',
  kitchen: 'What is for lunch, and who left the cup.',
  workshop: 'Things that are broken, and things that will be.',
};

const MESSAGES = { events: ['message'] };
const COUNT = {
  members: true,
  events: [],
  select: ({ state, count }) => (state === 'joined' ? count : undefined),
};

/**
 * @param joined the names of the joined rooms
 * @param counts the members of all rooms by name, as the front counts them
 */
export const Rooms = ({ joined, shown, counts = {}, onUnread, showRoom, leaveRoom }) => (
  <nav aria-labelledby="rooms-title">
    <h2 id="rooms-title">Rooms</h2>
    <ul id="rooms">
      {Object.keys(ROOMS).map((name) => (
        <Row
          key={name}
          name={name}
          isJoined={joined.includes(name)}
          isShown={name === shown}
          count={counts[name] ?? 0}
          onUnread={onUnread}
          showRoom={showRoom}
          leaveRoom={leaveRoom}
        />
      ))}
    </ul>
  </nav>
);

function Row({ name, isJoined, isShown, count, onUnread, showRoom, leaveRoom }) {
  const room = isJoined ? name : null;
  const here = useRoom(room, COUNT) ?? count;
  const { unread } = useUnread(room, MESSAGES);
  useEffect(() => onUnread(name, unread), [name, unread, onUnread]);

  const leave = ({ currentTarget }) => {
    // The button goes with the room.
    currentTarget.previousSibling.focus();
    leaveRoom(name);
  };
  const label = `${name}, ${plural(here, 'person', 'people')}${unread > 0 ? `, ${unread} unread` : ''}`;
  return (
    <li>
      <button type="button" className="room" aria-current={isShown} onClick={() => showRoom(name)}>
        <span className="hidden">{label}</span>
        <span className="hash" aria-hidden="true">
          #
        </span>
        <span className="name" aria-hidden="true">
          {name}
        </span>
        {unread > 0 && (
          <span className="badge" aria-hidden="true">
            {unread}
          </span>
        )}
        <span className="count" aria-hidden="true">
          {here}
        </span>
      </button>
      {isJoined && name !== 'lobby' && (
        <button type="button" className="icon" aria-label={`Leave ${name}`} onClick={leave}>
          ×
        </button>
      )}
    </li>
  );
}
