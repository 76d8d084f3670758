// One room: live messages, older ones on demand, read receipts, and messages that are being sent.
import { Counter } from './counter.js';
import { another, clock, element, face, list } from './dom.js';

/** Messages of one user within this many ms are grouped. */
const GROUP_WITHIN = 180_000;
/** Read receipts are sent at most once in this many ms. */
const READ_INTERVAL = 300;
const PAGE = 50;
/** Why messages may have been missed, by the reason of a discontinuity. */
const GAPS = {
  reconnected: 'the connection was lost',
  failover: 'another Redis took over',
  unresponsive: 'Redis did not answer',
  withdrawn: 'Redis withdrew the subscription',
  missed: 'a message did not arrive',
  trimmed: 'they are no longer in the history',
  wiped: 'Redis has lost the history',
  forked: 'Redis has lost messages in a failover',
  unavailable: 'the history cannot be read',
  overflow: 'this page read too slowly',
};

export class RoomView {
  /** Number of unread messages. */
  unread = 0;
  counter = new Counter();
  #name;
  #hooks;
  #items = new Map();
  #sending = new Map();
  /** The newest message is in view, and stays there when the log becomes smaller. */
  #following = true;
  #ready = false;
  /** Messages of others received since the connection broke; undefined once caught up. */
  #missed;
  /** Position of the last message before the reconnect. */
  #newest;
  #readTimer;
  #readUpTo;

  constructor(client, name, self, hooks) {
    this.#name = self;
    this.#hooks = hooks;
    this.messages = element('ol', { className: 'messages' });
    this.outbox = element('ol', { className: 'messages outbox', ariaLabel: 'Sending' });
    this.older = element('button', { type: 'button', className: 'older', hidden: true }, 'Older messages');
    this.root = element('div', { className: 'log', tabIndex: 0, hidden: true });
    this.empty = element('p', { className: 'empty', hidden: true });
    this.empty.append(
      'No messages yet. ',
      another('Open a second tab'),
      ', write in both, then kill a node.',
    );
    this.refused = element('p', { className: 'refused', role: 'alert', hidden: true });
    this.root.append(this.older, this.empty, this.messages, this.outbox, this.refused);
    this.root.role = 'log';
    this.root.ariaLabel = `Messages in ${name}`;
    // Screen readers must not announce history.
    this.root.ariaLive = 'off';

    this.room = client.join(name, { last: PAGE, info: {}, members: true });
    this.room.on('message', (data, context) => this.#addMessage(data, context));
    this.room.onMembers(() => {
      this.#showReaders();
      hooks.members();
    });
    this.room.onTypingUsers(() => hooks.typingUsers());
    this.room.onState((state) => this.#onState(state));
    this.room.onDiscontinuity((gap) => this.#showGap(gap));

    let top = 0;
    this.root.addEventListener('scroll', () => {
      const { scrollTop } = this.root;
      // Only a user scrolls up. Without that test, a log that shrinks before this event would count as scrolled.
      if (this.#atEnd()) this.#following = true;
      else if (scrollTop < top) this.#following = false;
      top = scrollTop;
    });
    // A keyboard that opens, or a draft of several lines, leaves less room for the log.
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(this.root);
    this.older.addEventListener('click', () => void this.#loadOlder());
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.#ready && this.#loadOlder(), {
      root: this.root,
    }).observe(this.older);
  }

  show() {
    this.root.hidden = false;
    this.#toEnd();
  }

  hide() {
    this.root.hidden = true;
    this.room.stopTyping();
  }

  /** Shows a message as pending until the room delivers it. */
  send(text) {
    const id = crypto.randomUUID?.() ?? String(Math.random());
    const item = this.#item({ text, at: Date.now() }, this.#name);
    item.classList.add('pending');
    this.outbox.append(item);
    this.#sending.set(id, item);
    const numbers = this.counter.next();
    this.#hooks.counted();
    this.empty.hidden = true;
    this.room.stopTyping();
    this.#toEnd();
    const attempt = () => {
      item.querySelector('.retry')?.remove();
      // `send` waits for a connection and repeats after a break; the key keeps the message from being stored twice.
      const message = { text, at: Date.now(), id, ...numbers };
      const sent = this.room.send('message', message, { key: id }).then(() => this.counter.confirm(numbers));
      sent.catch((error) => {
        if (!this.#sending.has(id)) return;
        const retry = element('button', { type: 'button', className: 'retry' }, 'Not sent. Try again');
        retry.title = error.message;
        retry.addEventListener('click', attempt);
        item.querySelector('.body').append(retry);
      });
    };
    attempt();
  }

  /** Whether this user has read the message at `position`. */
  hasRead(position) {
    return this.unread === 0 && this.#readUpTo !== undefined && this.#items.has(position);
  }

  markRead() {
    if (this.unread > 0) this.unread = 0;
    const last = this.messages.lastElementChild?.dataset.position;
    if (last === undefined || last === this.#readUpTo) return;
    this.#readUpTo = last;
    this.#readTimer ??= setTimeout(() => {
      this.#readTimer = undefined;
      // The read position is part of this member's info.
      this.room.update({ read: this.#readUpTo }).catch(() => {});
    }, READ_INTERVAL);
  }

  #addMessage(data, { from, position }) {
    const { text, at, id } = Object(data);
    // Clients can send any data.
    if (typeof text !== 'string' || from === undefined) return;
    this.counter.receive(data);
    this.#hooks.counted();
    const item = this.#item({ text, at }, from, position);
    const follow = this.#atEnd();
    this.#sending.get(id)?.remove();
    if (from === this.#name) this.#sending.delete(id);
    this.messages.append(item);
    this.empty.hidden = true;
    this.#items.set(position, item);
    group(item);
    if (this.#ready && from !== this.#name) {
      this.unread++;
      if (this.#missed !== undefined) this.#missed++;
    }
    if (follow || from === this.#name) this.#toEnd();
    this.#showReaders();
    this.#reportRecovered();
    if (this.#ready) this.#hooks.changed();
  }

  #onState(state) {
    if (state === 'joining') this.#missed = 0;
    if (state === 'refused') return this.#showRefusal(this.room.error.message);
    if (state !== 'joined') return;
    this.refused.hidden = true;
    if (this.#ready) return void this.#countMissed();
    this.#ready = true;
    this.root.ariaLive = 'polite';
    this.older.hidden = this.#items.size < PAGE;
    this.empty.hidden = this.#items.size + this.#sending.size > 0;
    this.#toEnd();
    this.#hooks.changed();
  }

  /** The client does not come back by itself; the user may, also while they must stay out. */
  #showRefusal(reason) {
    const again = element('button', { type: 'button' }, 'Join again');
    again.addEventListener('click', () => this.room.retry());
    this.refused.replaceChildren(reason, ' ', again);
    this.refused.hidden = false;
    this.#hooks.addEntry('bad', reason);
    this.#hooks.changed();
    this.#hooks.refused();
    this.#toEnd();
  }

  /** The client recovers missed messages by itself; this counts them for the timeline. */
  async #countMissed() {
    const { events } = await this.room.history({ limit: 1 }).catch(() => ({ events: [] }));
    this.#newest = events[0]?.position;
    this.#reportRecovered();
  }

  #reportRecovered() {
    if (this.#missed === undefined || !this.#items.has(this.#newest)) return;
    const what = this.#missed === 1 ? 'message' : 'messages';
    if (this.#missed > 0)
      this.#hooks.addEntry('good', `${this.#missed} missed ${what} recovered in ${this.room.name}`);
    this.#missed = undefined;
    this.#newest = undefined;
  }

  #showGap({ reason, recovered }) {
    const { name } = this.room;
    if (recovered)
      return this.#hooks.addEntry(
        'good',
        `A gap in ${name} was filled from history: ${GAPS[reason] ?? reason}`,
      );
    this.#hooks.addEntry('bad', `Messages in ${name} may be missing: ${GAPS[reason] ?? reason}`);
    this.messages.append(element('li', { className: 'gap' }, 'Messages may be missing here'));
  }

  async #loadOlder() {
    const before = this.messages.querySelector('[data-position]')?.dataset.position;
    if (this.older.disabled || before === undefined) return;
    this.older.disabled = true;
    try {
      const { events, more } = await this.room.history({ before, limit: PAGE });
      const top = this.messages.firstElementChild;
      const height = this.root.scrollHeight - this.root.scrollTop;
      // Events come newest first, so each is put before the last one.
      for (const { event, data, from, position } of events) {
        const { text, at } = Object(data);
        if (event !== 'message' || typeof text !== 'string' || this.#items.has(position)) continue;
        const item = this.#item({ text, at }, from ?? '', position);
        this.messages.prepend(item);
        this.#items.set(position, item);
      }
      for (let item = this.messages.firstElementChild; item; item = item.nextElementSibling) {
        group(item);
        if (item === top) break;
      }
      // Keeps the visible messages in place.
      this.root.scrollTop = this.root.scrollHeight - height;
      this.older.hidden = !more || events.length === 0;
    } catch {
      // The button stays visible for another try.
    } finally {
      this.older.disabled = false;
    }
  }

  #item({ text, at }, from, position) {
    const when = typeof at === 'number' ? at : Date.now();
    const mine = from === this.#name;
    const time = element('time', { dateTime: new Date(when).toISOString() }, clock(when));
    return element(
      'li',
      {
        className: mine ? 'message mine' : 'message',
        dataset: { from, at: String(when), ...(position && { position }) },
      },
      face(from),
      element(
        'div',
        { className: 'body' },
        element('p', { className: 'head' }, element('b', {}, mine ? 'You' : from), ' ', time),
        element('p', { className: 'text' }, ...this.#format(text)),
      ),
      element('span', { className: 'readers' }),
    );
  }

  /** Links and mentions become elements. */
  #format(text) {
    return text.split(LINK_OR_MENTION).map((part, at) => {
      if (at % 2 === 0) return part;
      if (part[0] === '@') return element('mark', { className: part === `@${this.#name}` ? 'me' : '' }, part);
      return element('a', { href: part, target: '_blank', rel: 'noopener noreferrer' }, part);
    });
  }

  /** Shows each member's avatar at the last message they have read. */
  #showReaders() {
    const follow = this.#atEnd();
    const readers = new Map();
    for (const { user, info } of this.room.members.values()) {
      const item = this.#items.get(Object(info).read);
      // The author has read it.
      if (item === undefined || user === this.#name || user === item.dataset.from) continue;
      readers.set(item, [...(readers.get(item) ?? []), user]);
    }
    for (const item of this.messages.querySelectorAll('.message')) {
      const box = item.lastElementChild;
      const names = readers.get(item) ?? [];
      const label = names.length > 0 ? `Read by ${list(names)}` : '';
      if (box.title === label) continue;
      box.title = label;
      box.replaceChildren(...names.slice(0, 5).map(face));
      if (names.length > 0) {
        box.role = 'img';
        box.ariaLabel = label;
      } else {
        box.role = null;
        box.ariaLabel = null;
      }
    }
    if (follow) this.#toEnd();
  }

  #atEnd() {
    return this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < 80;
  }

  #toEnd() {
    this.#following = true;
    this.root.scrollTop = this.root.scrollHeight;
  }
}

/** A URL without the punctuation behind it, or a mention. Only http and https: other schemes could run scripts. */
const LINK_OR_MENTION =
  /(https?:\/\/[^\s<>"]*[^\s<>"'.,:;!?)\]}]|(?<![\p{L}\p{N}_])@[\p{L}\p{N}][\p{L}\p{N}_-]{0,23})/u;

/** Hides the head of a message that soon follows another one of the same user. */
function group(item) {
  const before = item.previousElementSibling;
  const soon = Number(item.dataset.at) - Number(before?.dataset.at) < GROUP_WITHIN;
  item.classList.toggle('continued', before?.dataset.from === item.dataset.from && soon);
}
