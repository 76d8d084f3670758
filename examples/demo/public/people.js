// The members of the shown room, with their status (from `watch`) and their devices.
import { $, another, dot, element, face, keepOnly, keyed, plural, setText } from './dom.js';

/** Delay in ms before the devices are requested, so that many changes need one request. */
const REQUEST_DELAY = 200;
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
  #devices = new Map();
  #timer;

  constructor(client, name) {
    this.#client = client;
    this.#name = name;
    this.#watch = client.watch([], () => this.changed());
    client.on('open', () => this.changed());
    client.on('state', () => this.#show());
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
    const listed = new Set([...this.#room.members.keys(), ...this.#leaving.keys()]);
    const watched = [...this.#watch.current().keys()];
    this.#watch.add(listed);
    this.#watch.remove(watched.filter((user) => !listed.has(user)));
    this.#show();
    this.#timer ??= setTimeout(() => this.#requestDevices(), REQUEST_DELAY);
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

  async #requestDevices() {
    this.#timer = undefined;
    try {
      const found = await this.#client.request('devices', [...this.#room.members.keys()]);
      this.#devices = new Map(found.map(({ user, devices }) => [user, devices]));
      this.#show();
    } catch {
      // Requested again with the next change.
    }
  }

  #show() {
    const statuses = this.#watch.current();
    const { members } = this.#room;
    const users = [...members.keys(), ...this.#leaving.keys()].sort((a, b) => a.localeCompare(b));
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
        ),
      );
      if (rows.children[at] !== row) rows.insertBefore(row, rows.children[at]);
      // Without a connection, what was true before may have changed.
      const known = this.#client.state === 'open';
      const status = known ? (statuses.get(user)?.status ?? 'online') : 'unknown';
      row.dataset.status = status;
      setText(row.querySelector('b'), user === this.#name ? `${user} (you)` : user);
      setText(row.querySelector('.status'), status);
      setText(row.querySelector('.devices'), this.#describe(user, members.get(user)?.sockets ?? 0));
    }
  }

  /** For example `2 devices: computer on node-1, phone on node-2`. */
  #describe(user, sockets) {
    const devices = this.#devices.get(user) ?? [];
    const where = devices.map(({ device, node }) => `${device} on ${node}`).join(', ');
    if (devices.length > 1) return `${plural(devices.length, 'device')}: ${where}`;
    return where || plural(sockets, 'device');
  }
}
