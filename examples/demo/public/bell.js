// Notifications: stored for offline users, sent to all devices of online users, and marked as read on all of them.
import { $, clock, element, face, toast } from './dom.js';

export class Bell {
  #client;
  #chat;
  /** Newest first. */
  #notifications = [];
  #acknowledged;

  constructor(client, chat) {
    this.#client = client;
    this.#chat = chat;
    // After each reconnect too, because the list holds notifications that arrived in the meantime.
    client.on('open', () => this.#refresh());
    client.events.on('notification', ({ data }) => {
      if (!this.#isRead({ data })) toast(`${data.from} mentioned you in ${data.room}`);
      return this.#refresh();
    });
    document.addEventListener('read', () => this.#acknowledgeRead());
    // Another device of this user has marked them as read.
    client.events.on('notification:read', () => this.#refresh());
    $('read-all').addEventListener('click', () => this.#acknowledge(this.#notifications[0]?.id));
    $('notifications').addEventListener('toggle', ({ newState }) => newState === 'open' && this.#refresh());
  }

  async #acknowledge(id) {
    if (id === undefined) return;
    await this.#client.request('notifications.acknowledge', { id }).catch(() => {});
    await this.#refresh();
  }

  #isRead({ data }) {
    return this.#chat.hasRead(data.room, data.position);
  }

  /** A mention is read with its message. Acknowledging one includes the older ones, so it ends before an unread one. */
  #acknowledgeRead() {
    const unread = this.#notifications.filter(({ read }) => !read).reverse();
    const end = unread.findIndex((each) => !this.#isRead(each));
    const last = (end === -1 ? unread : unread.slice(0, end)).at(-1);
    if (last === undefined || last.id === this.#acknowledged) return;
    this.#acknowledged = last.id;
    void this.#acknowledge(last.id);
  }

  async #refresh() {
    try {
      this.#show(await this.#client.request('notifications.list', { limit: 20 }));
    } catch {
      // The list stays as it was until the next notification or connection.
    }
  }

  #show({ notifications, unread: { count, capped } }) {
    this.#notifications = notifications;
    const badge = $('bell').querySelector('.badge');
    badge.hidden = count === 0;
    badge.textContent = capped ? '99+' : String(count);
    $('bell').ariaLabel = count === 0 ? 'Notifications' : `Notifications, ${badge.textContent} unread`;
    $('read-all').disabled = count === 0;
    this.#acknowledgeRead();
    const items = notifications.map((each) => element('li', {}, this.#button(each)));
    if (items.length === 0) items.push(element('li', { className: 'hint' }, 'No mentions yet.'));
    $('notifications')
      .querySelector('ul')
      .replaceChildren(...items);
  }

  #button({ id, at, data, read }) {
    const button = element(
      'button',
      { type: 'button', className: read ? 'read' : 'unread' },
      face(data.from),
      element(
        'span',
        {},
        element('b', {}, data.from),
        ` in ${data.room}, `,
        element('time', {}, clock(at)),
        element('span', { className: 'text' }, data.text),
      ),
    );
    button.addEventListener('click', () => {
      document.dispatchEvent(new CustomEvent('goto', { detail: data.room }));
      $('notifications').hidePopover();
      void this.#acknowledge(id);
    });
    return button;
  }
}
