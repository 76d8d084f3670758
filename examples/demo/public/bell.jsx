// Notifications: stored for offline users, sent to all devices of online users, and marked as read on all of them.
import { useEffect, useRef } from 'react';
import { useNotifications, useUserEvent } from 'rollcall/react';
import { Button, clock, Face, Icon, toast } from './shared.jsx';

const BELL = 'M10 2.5a5 5 0 0 0-5 5V11l-1.5 2.5h13L15 11V7.5a5 5 0 0 0-5-5ZM8 16a2 2 0 0 0 4 0';

/** @param isSeen whether the user has seen the message of a notification in its room */
export function Bell({ isSeen, showRoom }) {
  const { notifications, unread, capped, markRead } = useNotifications();
  const popover = useRef();
  const count = capped ? '99+' : unread;
  useUserEvent('notification', ({ data }) => {
    if (!isSeen(data)) toast(`${data.from} mentioned you in ${data.room}`);
  });

  // A mention is read with its message. Marking one includes the older ones, so it ends before one that is unread.
  const unseen = notifications.findLastIndex(({ read, data }) => !read && !isSeen(data));
  const seen = notifications.slice(unseen + 1).find(({ read }) => !read)?.id;
  useEffect(() => {
    if (seen) markRead(seen).catch(() => {});
  }, [seen, markRead]);

  const mark = (id) => markRead(id).catch((error) => toast(`Not marked as read: ${error.message}`));
  const open = (id, { room }) => {
    showRoom(room);
    popover.current.hidePopover();
    void mark(id);
  };
  return (
    <>
      <Button
        className="icon"
        aria-label={unread > 0 ? `Notifications, ${count} unread` : 'Notifications'}
        popoverTarget="notifications"
      >
        <Icon path={BELL} />
        {unread > 0 && <span className="badge">{count}</span>}
      </Button>
      <section id="notifications" className="card" ref={popover} popover="auto" aria-labelledby="bell-title">
        <header className="row">
          <h2 id="bell-title">Notifications</h2>
          <Button disabled={unread === 0} onClick={() => mark()}>
            Mark all as read
          </Button>
        </header>
        <ul>
          {notifications.map(({ id, at, data, read }) => (
            <li key={id}>
              <Button className={`plain row ${read ? '' : 'unread'}`} onClick={() => open(id, data)}>
                <Face name={data.from} />
                <span>
                  <b>{data.from}</b> in {data.room}, <time>{clock(at)}</time>
                  <span className="text">{data.text}</span>
                </span>
              </Button>
            </li>
          ))}
          {notifications.length === 0 && <li className="quiet">No mentions yet.</li>}
        </ul>
        <p className="quiet">
          Write @name in a message to notify that user here, even while they are offline.
        </p>
      </section>
    </>
  );
}
