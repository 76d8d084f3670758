// The rooms: their list, the room that is shown, and unread messages in the others.
import { $, dot, element, keyed, list, plural, setText } from './dom.js';
import { People } from './people.js';
import { RoomView } from './room-view.js';

const ROOMS = {
  lobby: 'Where everyone starts.',
  kitchen: 'What is for lunch, and who left the cup.',
  workshop: 'Things that are broken, and things that will be.',
};

export class Chat {
  #views = new Map();
  #current;
  #client;
  #name;
  #backstage;
  #people;
  #counts = {};
  /** Counters of rooms that were left. */
  #left = [];

  constructor(client, name, backstage) {
    this.#client = client;
    this.#name = name;
    this.#backstage = backstage;
    this.#people = new People(client, name);
    backstage.onRooms((counts) => {
      this.#counts = counts;
      this.#showRooms();
    });

    const text = $('text');
    $('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    text.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    // The client sends few frames for many key strokes.
    text.addEventListener('input', () => {
      if (text.value === '') this.#current.room.stopTyping();
      else this.#current.room.startTyping();
    });
    for (const event of ['visibilitychange', 'viewchange']) {
      document.addEventListener(event, () => this.#markRead());
    }
    document.addEventListener('goto', ({ detail }) => this.show(detail));
    this.show('lobby');
  }

  show(name) {
    const view = this.#views.get(name) ?? this.#join(name);
    if (this.#current) this.#current.hide();
    this.#current = view;
    view.show();
    this.#people.show(view.room);
    $('room-title').textContent = name;
    $('room-about').textContent = ROOMS[name];
    $('text').placeholder = `Write to ${name}`;
    this.#showTypingUsers();
    this.#markRead();
  }

  #join(name) {
    const view = new RoomView(this.#client, name, this.#name, {
      changed: () => (view === this.#current ? this.#markRead() : this.#showRooms()),
      refused: () => view === this.#current && this.#people.changed(),
      counted: () => this.#showCounts(),
      typingUsers: () => this.#showTypingUsers(),
      members: () => {
        this.#showRooms();
        if (view === this.#current) this.#people.changed();
      },
      addEntry: (kind, text) => this.#backstage.addEntry(kind, text),
    });
    this.#views.set(name, view);
    $('logs').append(view.root);
    return view;
  }

  #leave(name) {
    const view = this.#views.get(name);
    this.#views.delete(name);
    this.#left.push(view.counter);
    void view.room.leave();
    view.root.remove();
    if (view === this.#current) this.show('lobby');
    else this.#showRooms();
    $('rooms').querySelector(`[data-key="${name}"] button`).focus();
  }

  #send() {
    const text = $('text').value.trim();
    if (text === '') return;
    this.#current.send(text);
    $('text').value = '';
  }

  /** Whether this user has read the message at `position` of `room`. */
  hasRead(room, position) {
    return this.#views.get(room)?.hasRead(position) === true;
  }

  /** Marks visible messages as read. */
  #markRead() {
    const visible = document.visibilityState === 'visible' && $('chat').checkVisibility();
    if (visible) {
      this.#current.markRead();
      document.dispatchEvent(new Event('read'));
    }
    this.#showRooms();
  }

  #showRooms() {
    let unread = 0;
    for (const name of Object.keys(ROOMS)) {
      const view = this.#views.get(name);
      const item = keyed($('rooms'), name, () => this.#row(name));
      const [open, leave] = item.children;
      open.ariaCurrent = view === this.#current ? 'true' : 'false';
      const joined = view?.room.state === 'joined';
      const here = (joined ? view.room.count : this.#counts[name]) ?? 0;
      setText(item.querySelector('.count'), `${here}`);
      const badge = item.querySelector('.badge');
      badge.hidden = !view?.unread;
      setText(badge, String(view?.unread ?? 0));
      const suffix = view?.unread ? `, ${view.unread} unread` : '';
      const label = `${name}, ${plural(here, 'person').replace('persons', 'people')}${suffix}`;
      setText(item.querySelector('.hidden'), label);
      leave.hidden = view === undefined || name === 'lobby';
      unread += view?.unread ?? 0;
    }
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${this.#name} · rollcall demo`;
  }

  #showCounts() {
    const counters = [...this.#left, ...[...this.#views.values()].map(({ counter }) => counter)];
    const sum = (what) => counters.reduce((all, counter) => all + counter[what], 0);
    for (const what of ['sent', 'received', 'lost', 'doubled']) setText($(what), String(sum(what)));
  }

  #row(name) {
    const open = element(
      'button',
      { type: 'button', className: 'room' },
      element('span', { className: 'hash', ariaHidden: 'true' }, '#'),
      element('span', { className: 'name', ariaHidden: 'true' }, name),
      element('span', { className: 'hidden' }),
      element('span', { className: 'badge', hidden: true, ariaHidden: 'true' }),
      element('span', { className: 'count', ariaHidden: 'true' }),
    );
    open.addEventListener('click', () => {
      this.show(name);
      document.querySelector('#tabs [value=chat]').click();
      $('text').focus();
    });
    const leave = element('button', { type: 'button', className: 'icon', ariaLabel: `Leave ${name}` }, '×');
    leave.addEventListener('click', () => this.#leave(name));
    return element('li', {}, open, leave);
  }

  #showTypingUsers() {
    const { typingUsers } = this.#current.room;
    const what = typingUsers.length === 1 ? 'is typing' : 'are typing';
    const shown = typingUsers.length > 3 ? 'Several people are typing' : `${list([...typingUsers])} ${what}`;
    $('typing').replaceChildren(...(typingUsers.length > 0 ? [dot(), dot(), dot(), shown] : []));
  }
}
