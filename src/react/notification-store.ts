import type { Client, ClientError } from '../client/index.js';
import { Listeners } from './listeners.js';
import { RefCounted } from './ref-counted.js';
import { RetryTimer } from './retry-timer.js';

/** One notification of the user, as {@link useNotifications} lists it. */
export interface ClientNotification<T = unknown> {
  /** Identifies the notification. Opaque. */
  readonly id: string;
  /** When it was sent, in ms since the epoch, by Redis's clock. */
  readonly at: number;
  /** Data passed to `notify`. */
  readonly data: T;
  /** It was marked as read, on this device or on another. */
  readonly read: boolean;
}

/** The user's notifications, from {@link useNotifications}: the same object until something in it changes. */
export interface NotificationsView<T = unknown> {
  /** `loading` until the first page has arrived. */
  readonly state: 'loading' | 'ready';
  /** Newest first: the same array until it changes. */
  readonly notifications: readonly ClientNotification<T>[];
  /** Number of unread ones on all pages; counted up to 100. */
  readonly unread: number;
  /** More than `unread` are unread. */
  readonly capped: boolean;
  /** `loadOlder` finds older ones. */
  readonly hasOlder: boolean;
  /** Why the list could not be read. It is read again by itself, after a growing wait. */
  readonly error: ClientError | undefined;
  /**
   * Marks a notification and all older ones as read, on all devices; without an id, all that are listed.
   *
   * @throws {ClientError} (rejects) As `Client.request`.
   */
  readonly markRead: (id?: string) => Promise<void>;
  /**
   * Adds a page of older notifications, up to 100. Resolves with whether there may be more.
   *
   * @throws {ClientError} (rejects) As `Client.request`.
   */
  readonly loadOlder: (limit?: number) => Promise<boolean>;
}

interface Page {
  readonly notifications: readonly ClientNotification[];
  readonly unread: { readonly count: number; readonly capped: boolean };
  readonly more: boolean;
}

const PAGE = 50;
/** The service counts no further. */
const MAX_UNREAD = 100;

const refuse = () => Promise.reject(new Error('rollcall/react: there is no client'));

export const NO_NOTIFICATIONS: NotificationsView = {
  state: 'loading',
  notifications: [],
  unread: 0,
  capped: false,
  hasOlder: false,
  error: undefined,
  markRead: refuse,
  loadOlder: refuse,
};

/** The notifications of a client's user, which all components share. */
export class NotificationStore {
  readonly #client: Client;
  readonly #listeners = new Listeners();
  readonly #users: RefCounted;
  readonly #stops: (() => void)[] = [];
  #view: NotificationsView;
  /** Notifications that arrived while a page is being read, which may not contain them. */
  #arrived: ClientNotification[] = [];
  #reading = 0;
  #isReading = false;
  /** Whose list it is; undefined before the first connection. */
  #user: string | undefined;
  /** The client was closed, or has another user, since the last read began: the list is read again. */
  #isStale = false;
  readonly #retryTimer = new RetryTimer();
  #loadingOlder: Promise<boolean> | undefined;

  constructor(client: Client) {
    this.#client = client;
    this.#view = {
      ...NO_NOTIFICATIONS,
      markRead: (id) => this.#markRead(id),
      loadOlder: (limit) => this.#loadOlder(limit),
    };
    this.#users = new RefCounted({ open: () => this.#open(), close: () => this.#close() });
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    const forget = this.#listeners.add(listener);
    const release = this.#users.acquire();
    return () => {
      forget();
      release();
    };
  };

  readonly snapshot = (): NotificationsView => {
    this.#forgetOtherUser();
    return this.#view;
  };

  #open(): void {
    const { events } = this.#client;
    // Events first, so that none falls between them and the page.
    this.#stops.push(
      events.on('notification', (data) => this.#onNotification(data as Omit<ClientNotification, 'read'>)),
      events.on('notification:read', (data) => this.#onRead((data as { id: string }).id)),
      this.#client.on('discontinuity', ({ recovered }) => recovered || void this.#reload()),
      this.#client.on('state', (state) => {
        if (this.#forgetOtherUser()) this.#listeners.notify();
        // A closed client may connect again.
        if (state === 'closed') this.#isStale = true;
        else if (this.#isStale) void this.#reload();
      }),
    );
    void this.#reload();
  }

  /** The list is kept for the next component. It reads the list again, which may fail no longer. */
  #close(): void {
    for (const stop of this.#stops.splice(0)) stop();
    this.#retryTimer.cancel();
    this.#reading++;
    this.#view = { ...this.#view, error: undefined };
  }

  /** After a log-in or a log-out: what is shown, or being read, is not the user's. Returns whether it was so. */
  #forgetOtherUser(): boolean {
    const { user } = this.#client;
    const isOther = this.#user !== undefined && user !== undefined && user !== this.#user;
    this.#user = user ?? this.#user;
    if (!isOther) return false;
    const { markRead, loadOlder } = this.#view;
    this.#view = { ...NO_NOTIFICATIONS, markRead, loadOlder };
    this.#reading++;
    this.#isStale = true;
    return true;
  }

  /** Reads the first page. A later call replaces an earlier one that is under way. */
  async #reload(): Promise<void> {
    this.#retryTimer.cancel();
    const number = ++this.#reading;
    this.#isStale = this.#client.state === 'closed';
    this.#arrived = [];
    this.#isReading = true;
    try {
      const page = await this.#read({ limit: PAGE });
      if (number !== this.#reading) return;
      const known = new Set(page.notifications.map(({ id }) => id));
      const newer = this.#arrived.filter(({ id }) => !known.has(id));
      this.#retryTimer.reset();
      this.#update({
        state: 'ready',
        notifications: [...newer, ...page.notifications],
        ...countUnread(page.unread.count + newer.length, page.unread.capped),
        hasOlder: page.more,
        error: undefined,
      });
    } catch (error) {
      if (number !== this.#reading) return;
      this.#update({ error: error as ClientError });
      if (this.#client.state === 'closed') return;
      this.#retryTimer.schedule(() => void this.#reload());
    } finally {
      if (number === this.#reading) this.#isReading = false;
    }
  }

  #read(query: { before?: string; limit: number }): Promise<Page> {
    return this.#client.request('notifications.list', query) as Promise<Page>;
  }

  #onNotification({ id, at, data }: Omit<ClientNotification, 'read'>): void {
    const { notifications, unread, capped } = this.#view;
    // At-least-once: the catch-up of a reconnect and the list both have it.
    if (notifications.some((one) => one.id === id)) return;
    const added = { id, at, data, read: false };
    this.#arrived.unshift(added);
    // A message that is caught up may be older than some of the list.
    const index = notifications.findIndex((one) => one.at <= at);
    const next = [...notifications];
    next.splice(index === -1 ? next.length : index, 0, added);
    this.#update({ notifications: next, ...countUnread(unread + 1, capped) });
  }

  #onRead(id: string): void {
    const { notifications } = this.#view;
    const index = notifications.findIndex((one) => one.id === id);
    // Beyond the list, only the server knows how many are unread. A page that is being read may be older than the mark.
    if (index === -1 || this.#isReading) return void this.#reload();
    const next = notifications.map((one, at) => (at < index || one.read ? one : { ...one, read: true }));
    this.#update({ notifications: next, unread: next.filter(({ read }) => !read).length, capped: false });
  }

  async #markRead(id = this.#view.notifications[0]?.id): Promise<void> {
    if (id === undefined) return;
    const { readUpTo } = (await this.#client.request('notifications.acknowledge', { id })) as {
      readUpTo: string;
    };
    this.#onRead(readUpTo);
  }

  #loadOlder(limit = PAGE): Promise<boolean> {
    this.#loadingOlder ??= this.#loadPage(limit).finally(() => {
      this.#loadingOlder = undefined;
    });
    return this.#loadingOlder;
  }

  async #loadPage(limit: number): Promise<boolean> {
    const before = this.#view.notifications.at(-1)?.id;
    if (before === undefined || !this.#view.hasOlder) return false;
    const { notifications, more } = await this.#read({ before, limit });
    // The list was read again in the meantime: the page may not follow it.
    if (this.#view.notifications.at(-1)?.id !== before) return this.#view.hasOlder;
    this.#update({ notifications: [...this.#view.notifications, ...notifications], hasOlder: more });
    return more;
  }

  #update(news: Partial<NotificationsView>): void {
    this.#view = { ...this.#view, ...news };
    this.#listeners.notify();
  }
}

function countUnread(count: number, capped: boolean): { unread: number; capped: boolean } {
  return { unread: Math.min(count, MAX_UNREAD), capped: capped || count > MAX_UNREAD };
}
