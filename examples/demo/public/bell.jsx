// Notifications: stored for offline users, sent to all devices of online users, and marked as read on all of them.
import { useEffect, useRef } from 'react';
import { useNotifications, useUserEvent } from 'rollcall/react';
import { clock, Face, Icon, toast } from './shared.jsx';

const BELL = 'M10 2.5a5 5 0 0 0-5 5V11l-1.5 2.5h13L15 11V7.5a5 5 0 0 0-5-5ZM8 16a2 2 0 0 0 4 0';

/** @param isSeen whether the user has seen the message of a notification in its room */
export function Bell({ isSeen, showRoom }) {
  const { notifications, unread, capped, markRead } = useNotifications();
  const popover = useRef();
  useUserEvent('notification', ({ data }) => {
    if (!isSeen(data)) toast(`${data.from} mentioned you in ${data.room}`);
  });

  // A mention is read with its message. Marking one includes the older ones, so it ends before one that is unread.
  const unseen = notifications.findLastIndex(({ read, data }) => !read && !isSeen(data));
  const seen = notifications.slice(unseen + 1).find(({ read }) => !read)?.id;
  const mark = (id) => markRead(id).catch((error) => toast(`Not marked as read: ${error.message}`));
  useEffect(() => {
    if (seen) markRead(seen).catch(() => {});
  }, [seen, markRead]);

  const open = ({ id, data }) => {
    showRoom(data.room);
    popover.current.hidePopover();
    mark(id);
  };
  const count = capped ? '99+' : unread;
  return (
    <>
      <button
        type="button"
        id="bell"
        className="icon"
        aria-label={unread > 0 ? `Notifications, ${count} unread` : 'Notifications'}
        popoverTarget="notifications"
      >
        <Icon path={BELL} />
        {unread > 0 && <span className="badge">{count}</span>}
      </button>
      <section id="notifications" ref={popover} popover="auto" aria-labelledby="notifications-title">
        <header>
          <h2 id="notifications-title">Notifications</h2>
          <button type="button" disabled={unread === 0} onClick={() => mark()}>
            Mark all as read
          </button>
        </header>
        <ul>
          {notifications.map(({ id, at, data, read }) => (
            <li key={id}>
              <button type="button" className={read ? 'read' : 'unread'} onClick={() => open({ id, data })}>
                <Face name={data.from} />
                <span>
                  <b>{data.from}</b> in {data.room}, <time>{clock(at)}</time>
                  <span className="text">{data.text}</span>
                </span>
              </button>
            </li>
          ))}
          {notifications.length === 0 && <li className="hint">No mentions yet.</li>}
        </ul>
        <p className="hint">
          Write @name in a message to notify that user here, even while they are offline.
        </p>
      </section>
    </>
  );
}
