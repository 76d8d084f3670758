import {
  Activity,
  Component,
  createElement,
  type ExoticComponent,
  Fragment,
  type ReactNode,
  StrictMode,
  Suspense,
  useEffect,
  useState,
  version,
} from 'react';
import { createRoot } from 'react-dom/client';
import { type Client, connect } from 'rollcall/client';
import {
  RollcallProvider,
  type UseEventStreamOptions,
  type UseRoomOptions,
  type UseUnreadOptions,
  useConnection,
  useErrorListener,
  useEventStream,
  useMember,
  useNotifications,
  usePresence,
  useRollcall,
  useRoom,
  useRoomCount,
  useRoomEvent,
  useSuspenseNotifications,
  useSuspenseRoom,
  useTyping,
  useUnread,
  useUserEvent,
} from 'rollcall/react';

// The page of react-suite.ts. The test says which components are there, and looks at what their hooks give.

/** A component with one hook, or others in an `Activity`. */
export type Part = { readonly id: string; readonly inside?: readonly Part[] } & (
  | { readonly hook: 'activity'; readonly mode: 'visible' | 'hidden' }
  | { readonly hook: 'room'; readonly room: string | null; readonly options?: UseRoomOptions }
  | { readonly hook: 'parent'; readonly room: string; readonly message: number }
  | { readonly hook: 'count'; readonly room: string }
  | { readonly hook: 'member'; readonly room: string; readonly user: string }
  | { readonly hook: 'suspense'; readonly room: string; readonly options?: UseRoomOptions }
  | { readonly hook: 'suspense notifications' }
  | { readonly hook: 'unread'; readonly room: string; readonly options?: UseUnreadOptions }
  | { readonly hook: 'event'; readonly room: string; readonly event: string; readonly mark: string }
  | { readonly hook: 'user'; readonly event: string; readonly mark: string }
  | { readonly hook: 'error'; readonly mark: string }
  | { readonly hook: 'typing'; readonly room: string }
  | { readonly hook: 'presence'; readonly users: readonly string[] }
  | { readonly hook: 'connection' }
  | { readonly hook: 'notifications' }
  | { readonly hook: 'client' }
  | { readonly hook: 'stream'; readonly url: string | null; readonly options?: UseEventStreamOptions }
);

type Hook<H extends Part['hook']> = Extract<Part, { hook: H }>;

/** What the test finds in the page. */
export interface Page {
  /** Shows these components and no others. */
  show(parts: readonly Part[]): void;
  readonly client: Client;
  /** What the hook of each component gave last, by its id. */
  readonly views: Map<string, unknown>;
  /** How often that was another value. */
  readonly changes: Map<string, number>;
  /** How often each component has rendered. Strict mode adds one when it mounts. */
  readonly renders: Map<string, number>;
  /** What handlers received, with the mark they had. */
  readonly received: [mark: string, data: unknown][];
  /** Messages of errors that the client reported, or that rendering ended with. */
  readonly errors: string[];
  readonly reactVersion: string;
}

/** Set by the fixture. */
declare const STRICT: boolean;

const page = globalThis as unknown as Page & {
  readonly document: { getElementById(id: string): never };
  readonly location: { readonly search: string };
  addEventListener(type: 'error', listener: (event: { readonly error: unknown }) => void): void;
};

const views = new Map<string, unknown>();
const changes = new Map<string, number>();
const renders = new Map<string, number>();
const received: [string, unknown][] = [];
const errors: string[] = [];

/** As `views`, but also of components that have gone: strict mode lets all go once. */
const latest = new Map<string, unknown>();

function useSeen(id: string, view: unknown): void {
  useEffect(() => {
    renders.set(id, (renders.get(id) ?? 0) + 1);
    if (latest.get(id) !== view) changes.set(id, (changes.get(id) ?? 0) + 1);
    latest.set(id, view);
    views.set(id, view);
  });
  useEffect(() => () => void views.delete(id), [id]);
}

/** Of parts that render nothing themselves. */
const hooks = {
  // Other arrays at each render, as in most components.
  room: ({ id, room, options }: Hook<'room'>) => {
    const events = options?.events && [...options.events];
    useSeen(id, useRoom(room, { ...options, events }));
  },
  count: ({ id, room }: Hook<'count'>) => useSeen(id, useRoomCount(room)),
  member: ({ id, room, user }: Hook<'member'>) => useSeen(id, useMember(room, user)),
  suspense: ({ id, room, options }: Hook<'suspense'>) => useSeen(id, useSuspenseRoom(room, options)),
  'suspense notifications': ({ id }: Hook<'suspense notifications'>) =>
    useSeen(id, useSuspenseNotifications()),
  unread: ({ id, room, options }: Hook<'unread'>) =>
    useSeen(id, useUnread(room, { ...options, events: ['message'] })),
  event: ({ room, event, mark }: Hook<'event'>) =>
    useRoomEvent(room, event, (data) => void received.push([mark, data])),
  user: ({ event, mark }: Hook<'user'>) => useUserEvent(event, (data) => void received.push([mark, data])),
  error: ({ mark }: Hook<'error'>) => useErrorListener((error) => void received.push([mark, String(error)])),
  typing: ({ id, room }: Hook<'typing'>) => useSeen(id, useTyping(room)),
  presence: ({ id, users }: Hook<'presence'>) => useSeen(id, usePresence([...users])),
  connection: ({ id }: Hook<'connection'>) => useSeen(id, useConnection()),
  notifications: ({ id }: Hook<'notifications'>) => useSeen(id, useNotifications()),
  client: ({ id }: Hook<'client'>) => useSeen(id, useRollcall()),
  stream: ({ id, url, options }: Hook<'stream'>) => useSeen(id, useEventStream(url, options)),
};

/** Its declaration wants the children among the props. */
const Hideable = Activity as ExoticComponent<{ readonly mode: 'visible' | 'hidden' }>;

/** Its child sends a message as soon as it is mounted, before the effects of the parent have run. */
function Parent({ id, room, message }: Hook<'parent'>): ReactNode {
  const view = useRoom(room);
  useSeen(id, view);
  return createElement(Child, { send: () => view.send('message', message) });
}

function Child({ send }: { readonly send: () => unknown }): ReactNode {
  // biome-ignore lint/correctness/useExhaustiveDependencies: once
  useEffect(() => void send(), []);
  return null;
}

/** What is shown instead of a component that suspends. */
function Waiting({ id }: { readonly id: string }): ReactNode {
  useSeen(id, 'waiting');
  return null;
}

/** Shows the message of an error that rendering ended with. */
class Boundary extends Component<{ readonly id: string; readonly children?: ReactNode }> {
  override readonly state: { readonly error?: unknown } = {};
  static getDerivedStateFromError(error: unknown) {
    return { error };
  }
  override render(): ReactNode {
    const { error } = this.state;
    if (error === undefined) return this.props.children;
    // The fallback removes its own view, which may happen later.
    views.set(`${this.props.id} error`, String(error));
    return null;
  }
}

function Suspended(part: Part): ReactNode {
  const fallback = createElement(Waiting, { id: part.id });
  const content = createElement(Suspense, { fallback }, createElement(One, part));
  return createElement(Boundary, { id: part.id }, content);
}

function One(part: Part): ReactNode {
  if (part.hook === 'parent') return createElement(Parent, part);
  if (part.hook === 'activity') return createElement(Hideable, { mode: part.mode }, insideOf(part));
  hooks[part.hook](part as never);
  return insideOf(part);
}

function insideOf({ inside }: Part): ReactNode {
  return inside?.map((each) => createElement(One, { ...each, key: each.id }));
}

function App(): ReactNode {
  const [parts, setParts] = useState<readonly Part[]>([]);
  useEffect(() => {
    page.show = setParts;
  }, []);
  return createElement(
    Fragment,
    null,
    parts.map((each) =>
      createElement(each.hook.startsWith('suspense') ? Suspended : One, { ...each, key: each.id }),
    ),
  );
}

const user = new URLSearchParams(page.location.search).get('user');
const client = connect({ url: `/?user=${user}`, backoff: { first: 50, max: 200 } });
client.on('error', (error) => errors.push(String(error)));
Object.assign(page, { client, views, changes, renders, received, errors, reactVersion: version });

// React 18 has no `onUncaughtError`: it throws the error again.
page.addEventListener('error', ({ error }) => errors.push(String(error)));
createRoot(page.document.getElementById('root'), {
  onUncaughtError: (error) => errors.push(String(error)),
}).render(
  createElement(
    STRICT ? StrictMode : Fragment,
    null,
    createElement(RollcallProvider, { client }, createElement(App)),
  ),
);
