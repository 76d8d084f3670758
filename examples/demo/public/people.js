// The members of the shown room, with their status (from `watch`) and their devices, and the user's own status.
import { $, another, clock, dot, element, face, keepOnly, keyed, plural, setText, toast } from './dom.js';

/** Delay in ms before the devices are requested, so that many changes need one request. */
const REQUEST_DELAY = 200;
/** Duration of a timed status in ms. */
const MINUTE = 60_000;
/** Time in ms that a user who has left stays in the list, unless they go offline before. */
const KEEP_LEAVING = 4_000;

export class People {
  #client;
  #name;
  #watch;
  #room;
  /** The members as last shown, and users who have left since, with the time until which they stay listed. */
  #members = new Map();
  #leaving = new Map();
  #details = new Map();
  /** The status that this user has on all their devices, and that of this device. */
  #own = null;
  #device = 'online';
  #timer;

  constructor(client, name) {
    this.#client = client;
    this.#name = name;
    this.#watch = client.watch([], () => this.changed());
    client.on('open', () => this.changed());
    client.on('state', () => this.#show());
    $('status').addEventListener('change', () => void this.#setStatus($('status').value));
    $('alone').replaceChildren('Only you. ', another('Open a second tab'), ' and sign in as somebody else.');
  }

  show(room) {
    this.#room = room;
    this.#members.clear();
    this.#leaving.clear();
    this.changed();
  }

  changed() {
    this.#keepLeavingUsers();
    const listed = new Set([this.#name, ...this.#room.members.keys(), ...this.#leaving.keys()]);
    const watched = [...this.#watch.current().keys()];
    this.#watch.add(listed);
    this.#watch.remove(watched.filter((user) => !listed.has(user)));
    this.#show();
    this.#timer ??= setTimeout(() => this.#request(), REQUEST_DELAY);
  }

  /**
   * A room removes a user as soon as the connection breaks. Their presence has a grace in which they may reconnect,
   * so they stay listed as well.
   */
  #keepLeavingUsers() {
    const { members } = this.#room;
    const now = Date.now();
    for (const [user, until] of this.#leaving) {
      const offline = this.#watch.current().get(user)?.status === 'offline';
      if (members.has(user) || offline || until < now) this.#leaving.delete(user);
    }
    for (const user of this.#members.keys()) {
      if (members.has(user) || this.#leaving.has(user)) continue;
      this.#leaving.set(user, now + KEEP_LEAVING);
      setTimeout(() => this.changed(), KEEP_LEAVING + 50);
    }
    this.#members = new Map(members);
  }

  async #request() {
    this.#timer = undefined;
    try {
      const { people, own } = await this.#client.request('people', [...this.#room.members.keys()]);
      this.#details = new Map(people.map((each) => [each.user, each]));
      this.#own = own;
      this.#show();
    } catch {
      // Requested again with the next change.
    }
  }

  /** A status of this device ends one of all devices. */
  async #setStatus(value) {
    const [status, duration] = value === 'timed' ? ['busy', MINUTE] : [value === 'invisible' ? value : null];
    if (status === null) {
      this.#device = value;
      this.#client.setStatus(value);
    }
    try {
      if (status !== this.#own || duration) await this.#client.request('status', { status, duration });
      this.#own = status;
    } catch (error) {
      toast(`Your status was not set: ${error.message}`);
    }
    this.changed();
  }

  async #kick(user) {
    const room = this.#room.name;
    try {
      await this.#client.request('kick', { room, user });
    } catch (error) {
      toast(`${user} was not put out: ${error.message}`);
    }
  }

  #show() {
    const statuses = this.#watch.current();
    const isIn = this.#room.state !== 'refused';
    const members = isIn ? this.#room.members : new Map();
    // This user always: an invisible one, and one who was put out, is no member.
    const listed = new Set([this.#name, ...members.keys(), ...this.#leaving.keys()]);
    const users = [...listed].sort((a, b) => a.localeCompare(b));
    const shown = { null: this.#device, busy: 'timed' };
    if (document.activeElement !== $('status')) $('status').value = shown[this.#own] ?? this.#own;
    setText($('count'), String(isIn ? this.#room.count : 0));
    const rows = $('people').querySelector('ul');
    $('alone').hidden = users.length > 1;
    keepOnly(rows, new Set(users));
    for (const [at, user] of users.entries()) {
      const row = keyed(rows, user, () =>
        element(
          'li',
          {},
          element('span', { className: 'portrait' }, face(user), dot()),
          element('span', { className: 'who' }, element('b'), element('small', { className: 'status' })),
          element('small', { className: 'devices' }),
          ...(user === this.#name ? [] : [this.#kickButton(user)]),
        ),
      );
      if (rows.children[at] !== row) rows.insertBefore(row, rows.children[at]);
      // Without a connection, what was true before may have changed.
      const known = this.#client.state === 'open';
      const self = user === this.#name;
      const seen = self && this.#own === 'invisible' ? 'invisible' : (statuses.get(user)?.status ?? 'online');
      const status = known ? seen : 'unknown';
      row.dataset.status = status;
      setText(row.querySelector('b'), self ? `${user} (you)` : user);
      const { until } = this.#details.get(user) ?? {};
      setText(
        row.querySelector('.status'),
        until && status === 'busy' ? `busy until ${clock(until)}` : status,
      );
      if (!self) row.querySelector('button').hidden = !members.has(user);
      setText(row.querySelector('.devices'), this.#describe(user, members.get(user)?.sockets ?? 0));
    }
  }

  #kickButton(user) {
    const button = element('button', { type: 'button', ariaLabel: `Put out ${user}` }, 'Put out');
    button.addEventListener('click', () => void this.#kick(user));
    return button;
  }

  /** For example `2 devices: computer on node-1, phone on node-2`. */
  #describe(user, sockets) {
    const devices = this.#details.get(user)?.devices ?? [];
    const where = devices.map(({ device, node }) => `${device} on ${node}`).join(', ');
    if (devices.length > 1) return `${plural(devices.length, 'device')}: ${where}`;
    return where || (sockets > 0 ? plural(sockets, 'device') : '');
  }
}
