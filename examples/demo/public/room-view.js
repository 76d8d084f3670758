// One room: its messages as they come, older ones on demand, who has read how far, and what is still on its way.
import { clock, element, face, list } from './dom.js';

/** Messages of one person within so many ms stand together. */
const TOGETHER = 180_000;
/** That one has read is said at most once in so many ms. */
const READ_EVERY = 300;
const PAGE = 50;

export class RoomView {
  /** Messages nobody has looked at. */
  unread = 0;
  #name;
  #hooks;
  #items = new Map();
  #sending = new Map();
  #ready = false;
  /** How many messages of others have come since the connection broke, while it is caught up with. */
  #missed;
  /** The last message that was said before it was back. */
  #newest;
  #readTimer;
  #readUpTo;

  constructor(client, name, self, hooks) {
    this.#name = self;
    this.#hooks = hooks;
    this.messages = element('ol', { className: 'messages' });
    this.outbox = element('ol', { className: 'messages outbox', ariaLabel: 'On their way' });
    this.older = element('button', { type: 'button', className: 'older', hidden: true }, 'Older messages');
    this.root = element('div', { className: 'log', tabIndex: 0, hidden: true });
    this.root.append(this.older, this.messages, this.outbox);
    this.root.role = 'log';
    this.root.ariaLabel = `Messages in ${name}`;
    // What was said before is there to be read, not to be read aloud.
    this.root.ariaLive = 'off';

    this.room = client.join(name, { last: PAGE, info: {}, members: true });
    this.room.on('message', (data, context) => this.#take(data, context));
    this.room.onMembers(() => {
      this.#showReaders();
      hooks.members();
    });
    this.room.onTypingUsers(() => hooks.typingUsers());
    this.room.onState((state) => this.#stateIs(state));
    this.room.onDiscontinuity((gap) => this.#gap(gap));

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

  /** Shows a message at once as on its way; it is in the room when it comes back from there. */
  send(text) {
    const id = crypto.randomUUID?.() ?? String(Math.random());
    const item = this.#item({ text, at: Date.now() }, this.#name);
    item.classList.add('pending');
    this.outbox.append(item);
    this.#sending.set(id, item);
    this.room.stopTyping();
    this.#toEnd();
    const attempt = () => {
      item.querySelector('.retry')?.remove();
      // `send` waits for a connection, and says it again with the same key after a break: it is there once.
      this.room.send('message', { text, at: Date.now(), id }, { key: id }).catch((error) => {
        if (!this.#sending.has(id)) return;
        const retry = element('button', { type: 'button', className: 'retry' }, 'Not sent. Try again');
        retry.title = error.message;
        retry.addEventListener('click', attempt);
        item.querySelector('.body').append(retry);
      });
    };
    attempt();
  }

  markRead() {
    if (this.unread > 0) this.unread = 0;
    const last = this.messages.lastElementChild?.dataset.position;
    if (last === undefined || last === this.#readUpTo) return;
    this.#readUpTo = last;
    this.#readTimer ??= setTimeout(() => {
      this.#readTimer = undefined;
      // How far one has read is what one shows of oneself in the room.
      this.room.update({ read: this.#readUpTo }).catch(() => {});
    }, READ_EVERY);
  }

  #take(data, { from, position }) {
    const { text, at, id } = Object(data);
    // Whoever can send can send anything.
    if (typeof text !== 'string' || from === undefined) return;
    const item = this.#item({ text, at }, from, position);
    const follow = this.#atEnd();
    this.#sending.get(id)?.remove();
    if (from === this.#name) this.#sending.delete(id);
    this.messages.append(item);
    this.#items.set(position, item);
    group(item);
    if (this.#ready && from !== this.#name) {
      this.unread++;
      if (this.#missed !== undefined) this.#missed++;
    }
    if (follow || from === this.#name) this.#toEnd();
    this.#showReaders();
    this.#caughtUp();
    if (this.#ready) this.#hooks.changed();
  }

  #stateIs(state) {
    if (state === 'joining') this.#missed = 0;
    if (state !== 'joined') return;
    if (this.#ready) return void this.#back();
    this.#ready = true;
    this.root.ariaLive = 'polite';
    this.older.hidden = this.#items.size < PAGE;
    this.#toEnd();
    this.#hooks.changed();
  }

  /** The client gets what was missed by itself; this only finds out how much it was, to tell. */
  async #back() {
    const { events } = await this.room.history({ limit: 1 }).catch(() => ({ events: [] }));
    this.#newest = events[0]?.position;
    this.#caughtUp();
  }

  #caughtUp() {
    if (this.#missed === undefined || !this.#items.has(this.#newest)) return;
    const what = this.#missed === 1 ? 'message' : 'messages';
    if (this.#missed > 0)
      this.#hooks.tell('good', `${this.#missed} missed ${what} recovered in ${this.room.name}`);
    this.#missed = undefined;
    this.#newest = undefined;
  }

  #gap({ reason, recovered }) {
    const { name } = this.room;
    if (recovered) return this.#hooks.tell('good', `A gap in ${name} made up from history (${reason})`);
    this.#hooks.tell('bad', `Messages in ${name} may be missing (${reason})`);
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
      // Newest first, so each goes before the one before.
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
      // What was before one's eyes stays there.
      this.root.scrollTop = this.root.scrollHeight - height;
      this.older.hidden = !more || events.length === 0;
    } catch {
      // The button stays, to be pressed again.
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
        element('p', { className: 'text' }, ...this.#withMentions(text)),
      ),
      element('span', { className: 'readers' }),
    );
  }

  #withMentions(text) {
    return text.split(/((?<![\p{L}\p{N}_])@[\p{L}\p{N}][\p{L}\p{N}_-]{0,23})/u).map((part, at) => {
      if (at % 2 === 0) return part;
      return element('mark', { className: part === `@${this.#name}` ? 'me' : '' }, part);
    });
  }

  /** Everybody's face stands at the last message that he has read. */
  #showReaders() {
    const follow = this.#atEnd();
    const readers = new Map();
    for (const { user, info } of this.room.members.values()) {
      const item = this.#items.get(Object(info).read);
      // Who wrote it has read it.
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
    this.root.scrollTop = this.root.scrollHeight;
  }
}

/** A message that follows one of the same person soon after has no head of its own. */
function group(item) {
  const before = item.previousElementSibling;
  const soon = Number(item.dataset.at) - Number(before?.dataset.at) < TOGETHER;
  item.classList.toggle('continued', before?.dataset.from === item.dataset.from && soon);
}
