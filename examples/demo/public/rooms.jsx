// The list of rooms, with the number of people in each and the unread messages of those that were joined.
import { useEffect } from 'react';
import { useUnread } from 'rollcall/react';
import { Button, plural } from './shared.jsx';

export const ROOMS = {
  lobby: 'Where everyone starts.',
  kitchen: 'What is for lunch, and who left the cup.',
  workshop: 'Things that are broken, and things that will be.',
};

const MESSAGES = { events: ['message'] };

/** @param counts the members of all rooms by name, as the front counts them */
export function Rooms({ joined, shown, counts, self, showRoom, leaveRoom }) {
  const rooms = Object.keys(ROOMS).map((name) => {
    const isJoined = joined.includes(name);
    // biome-ignore lint/correctness/useHookAtTopLevel: the rooms are always the same.
    const { unread } = useUnread(isJoined ? name : null, MESSAGES);
    return { name, isJoined, unread };
  });
  const unread = rooms.reduce((sum, room) => sum + room.unread, 0);
  useEffect(() => {
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${self} · rollcall demo`;
  }, [unread, self]);

  const leave = ({ currentTarget }) => {
    // The button goes with the room.
    currentTarget.previousSibling.focus();
    leaveRoom(currentTarget.value);
  };
  return (
    <nav aria-labelledby="rooms-title">
      <h2 id="rooms-title">Rooms</h2>
      <ul id="rooms">
        {rooms.map(({ name, isJoined, unread }) => (
          <li key={name} className="row">
            <Button className="plain name" aria-current={name === shown} onClick={() => showRoom(name)}>
              {name}, <small>{plural(counts?.[name] ?? 0, 'person', 'people')}</small>
              {unread > 0 && ', '}
              {unread > 0 && <b className="badge">{unread} unread</b>}
            </Button>
            {isJoined && name !== 'lobby' && (
              <Button className="plain icon" aria-label={`Leave ${name}`} value={name} onClick={leave}>
                ×
              </Button>
            )}
          </li>
        ))}
      </ul>
    </nav>
  );
}
