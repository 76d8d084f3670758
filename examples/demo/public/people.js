// Who is in the room that is shown: everybody's status, followed by `watch`, and his devices.
import { $, dot, element, face, keepOnly, keyed, plural, setText } from './dom.js';

/** Changes are collected for so many ms before the devices are asked for: people come in crowds. */
const COLLECT = 200;
/** For so many ms somebody who has left stays in the list, unless he is offline before. */
const KEEP = 4_000;

export class People {
  #client;
  #name;
  #watch;
  #room;
  /** The members as last shown, and those who have left since: until when they stay in the list. */
  #here = new Map();
  #leaving = new Map();
  #devices = new Map();
  #timer;

  constructor(client, name) {
    this.#client = client;
    this.#name = name;
    this.#watch = client.watch([], () => this.changed());
    client.on('open', () => this.changed());
  }

  show(room) {
    this.#room = room;
    this.#here.clear();
    this.#leaving.clear();
    this.changed();
  }

  changed() {
    this.#keepWhoMayReturn();
    const here = new Set([...this.#room.members.keys(), ...this.#leaving.keys()]);
    const watched = [...this.#watch.current().keys()];
    this.#watch.add(here);
    this.#watch.remove(watched.filter((user) => !here.has(user)));
    this.#show();
    this.#timer ??= setTimeout(() => this.#askDevices(), COLLECT);
  }

  /**
   * A room forgets at once whose connection has broken; his presence has a grace in which he may come
   * back, and so has his place here.
   */
  #keepWhoMayReturn() {
    const { members } = this.#room;
    const now = Date.now();
    for (const [user, until] of this.#leaving) {
      const offline = this.#watch.current().get(user)?.status === 'offline';
      if (members.has(user) || offline || until < now) this.#leaving.delete(user);
    }
    for (const user of this.#here.keys()) {
      if (members.has(user) || this.#leaving.has(user)) continue;
      this.#leaving.set(user, now + KEEP);
      setTimeout(() => this.changed(), KEEP + 50);
    }
    this.#here = new Map(members);
  }

  async #askDevices() {
    this.#timer = undefined;
    try {
      const found = await this.#client.request('devices', [...this.#room.members.keys()]);
      this.#devices = new Map(found.map(({ user, devices }) => [user, devices]));
      this.#show();
    } catch {
      // Asked again with the next change.
    }
  }

  #show() {
    const statuses = this.#watch.current();
    const { members } = this.#room;
    const users = [...members.keys(), ...this.#leaving.keys()].sort((a, b) => a.localeCompare(b));
    const rows = $('people').querySelector('ul');
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
      const status = statuses.get(user)?.status ?? 'online';
      row.dataset.status = status;
      setText(row.querySelector('b'), user === this.#name ? `${user} (you)` : user);
      setText(row.querySelector('.status'), status);
      setText(row.querySelector('.devices'), this.#describe(user, members.get(user)?.sockets ?? 0));
    }
  }

  /** `2 devices: computer on node-1, phone on node-2`, as far as that is known. */
  #describe(user, sockets) {
    const devices = this.#devices.get(user) ?? [];
    const where = devices.map(({ device, node }) => `${device} on ${node}`).join(', ');
    if (devices.length > 1) return `${plural(devices.length, 'device')}: ${where}`;
    return where || plural(sockets, 'device');
  }
}
