// The list of rooms, with the number of people in each and the unread messages of those that were joined.
import { useEffect } from 'react';
import { useRoom, useUnread } from 'rollcall/react';
import { Button, plural } from './shared.jsx';

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
export function Rooms({ joined, shown, counts, self, showRoom, leaveRoom }) {
  const rooms = Object.keys(ROOMS).map((name) => {
    const room = joined.includes(name) ? name : null;
    /* biome-ignore-start lint/correctness/useHookAtTopLevel: the rooms are always the same. */
    const here = useRoom(room, COUNT) ?? counts?.[name] ?? 0;
    const { unread } = useUnread(room, MESSAGES);
    /* biome-ignore-end lint/correctness/useHookAtTopLevel: see above. */
    const label = `${name}, ${plural(here, 'person', 'people')}${unread > 0 ? `, ${unread} unread` : ''}`;
    return { name, room, here, unread, label };
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
        {rooms.map(({ name, room, here, unread, label }) => (
          <li key={name} className="row">
            <Button className="plain room" aria-current={name === shown} onClick={() => showRoom(name)}>
              <span className="hidden">{label}</span>
              <span className="row" aria-hidden="true">
                <span className="name">{name}</span>
                {unread > 0 && <span className="badge">{unread}</span>}
                <span className="quiet count">{here}</span>
              </span>
            </Button>
            {room && name !== 'lobby' && (
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
