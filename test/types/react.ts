import { createElement, type FunctionComponent } from 'react';
import {
  type Client,
  type ClientError,
  connect,
  type MemberInfo,
  type RoomName,
  type UserPresence,
} from 'rollcall/client';
import {
  RollcallProvider,
  type RollcallProviderProps,
  type RoomDiscontinuity,
  type StreamEvent,
  type TimelineEvent,
  useErrorListener,
  useEventStream,
  useMember,
  usePresence,
  useRollcall,
  useRoom,
  useRoomCount,
  useRoomEvent,
  type useSuspenseNotifications,
  useSuspenseRoom,
  type useTyping,
  useUnread,
  useUserEvent,
} from 'rollcall/react';

// Only type-checked, never run.

/** True when A and B are the same type; `any` is the same only as itself. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ['these types differ', A, B]): void {}

interface Chat {
  message: { text: string };
  read: number;
}
const chatRoom = (id: string) => `chat:${id}` as RoomName<Chat, { name: string; since: Date }>;
interface Mine {
  mention: { room: string };
}

// A client with any event types is accepted, and null.
createElement(RollcallProvider, { client: connect({ url: '/' }) });
createElement(RollcallProvider, { client: connect<Mine>({ url: '/' }) }, 'text');
createElement(RollcallProvider, { client: null }, createElement('p'));
const provider: FunctionComponent<RollcallProviderProps> = RollcallProvider;
void provider;
// @ts-expect-error: the client is missing
createElement(RollcallProvider, {});
// @ts-expect-error: not a client
createElement(RollcallProvider, { client: 'wss://host' });

export function useAll() {
  same<ReturnType<typeof useRollcall<Mine>>, Client<Mine>>();
  useRollcall<Mine>().events.on('mention', ({ room }) => room.length);

  // The name of an event narrows its type.
  const lobby = useRoom<Chat>('lobby', {
    last: 10,
    info: { name: 'Ann' },
    members: true,
    events: ['message'],
  });
  for (const roomEvent of lobby.events) {
    same<typeof roomEvent.position, string | undefined>();
    if (roomEvent.event === 'message') same<typeof roomEvent.data, { text: string }>();
    else
      same<
        typeof roomEvent,
        {
          readonly key: string;
          readonly event: 'read';
          readonly data: number;
          readonly from: string | undefined;
          readonly position: string | undefined;
          readonly at: number | undefined;
          readonly replayed: boolean;
          readonly status: 'received' | 'pending' | 'failed';
          readonly error: ClientError | undefined;
        }
      >();
  }
  same<typeof lobby.state, 'idle' | 'joining' | 'joined' | 'refused' | 'left'>();
  same<typeof lobby.members, ReadonlyMap<string, MemberInfo>>();
  // @ts-expect-error: no such event
  useRoom<Chat>('lobby', { events: ['massage'] });
  same<typeof lobby.discontinuities, readonly RoomDiscontinuity[]>();
  same<typeof lobby.error, ClientError | undefined>();
  same<ReturnType<typeof lobby.loadOlder>, Promise<boolean>>();
  same<ReturnType<typeof lobby.loadUntil>, Promise<string | undefined>>();
  same<ReturnType<typeof lobby.loadNewer>, Promise<boolean>>();
  same<ReturnType<typeof lobby.jumpToLatest>, Promise<void>>();
  same<typeof lobby.hasNewer, boolean>();
  useRoom('lobby', { around: 'p1', last: 20 });
  // @ts-expect-error: not a position
  useRoom('lobby', { around: 7 });
  void lobby.send('message', { text: 'hello' }, { echo: false });
  // @ts-expect-error: no such event
  void lobby.send('massage', { text: 'hello' });
  // @ts-expect-error: not the payload of the event
  void lobby.send('read', { text: 'hello' });
  // @ts-expect-error: read-only
  lobby.events.push();
  // @ts-expect-error: no such option
  useRoom('lobby', { first: 10 });
  // @ts-expect-error: the name is missing
  useRoom();

  // Without types any event is accepted.
  const any = useRoom(null);
  void any.send('whatever', 1);
  for (const roomEvent of any.events) same<typeof roomEvent.data, unknown>();

  useRoomEvent('lobby', 'message', (data, { from, position }) => {
    same<typeof data, unknown>();
    same<typeof from, string | undefined>();
    same<typeof position, string | undefined>();
  });
  useRoomEvent('lobby', 'message', ({ text }: { text: string }) => void text.length);
  useRoomEvent<number>(null, 'read', (at) => void at.toFixed());
  useUserEvent<Mine['mention']>('mention', async ({ room }) => void room.length);

  same<ReturnType<typeof usePresence>, ReadonlyMap<string, UserPresence>>();
  usePresence(new Set(['ann']));
  same<ReturnType<typeof useTyping>['typingUsers'], readonly string[]>();

  const stream = useEventStream<{ n: number }>('/events', { events: ['reading'], parse: (text) => text });
  same<typeof stream.events, readonly StreamEvent<{ n: number }>[]>();
  same<typeof stream.state, 'connecting' | 'open' | 'closed' | 'idle'>();

  // A declared name brings the types, and `events` narrows the list.
  const declared = useRoom(chatRoom('a'), {
    events: ['message'],
    members: true,
    info: { name: 'A', since: new Date() },
  });
  same<typeof declared.events, readonly TimelineEvent<Chat, 'message'>[]>();
  for (const { data } of declared.events) same<typeof data, { text: string }>();
  same<typeof declared.members, ReadonlyMap<string, MemberInfo<{ name: string; since: string } | null>>>();
  void declared.send('read', 1);
  // @ts-expect-error: no such event
  void declared.send('reed', 1);
  // @ts-expect-error: no such event
  useRoom(chatRoom('a'), { events: ['massage'] });
  // @ts-expect-error: not the info of the room
  useRoom(chatRoom('a'), { info: 'Ann' });
  const shown = useRoom(chatRoom('a'), { events: ['read'], select: ({ events }) => events.at(-1)?.data });
  same<typeof shown, number | undefined>();
  same<ReturnType<typeof useMember<{ since: Date }>>, MemberInfo<{ since: string } | null> | undefined>();
  void useMember(chatRoom('a'), 'bob')?.info?.since.length;
  same<ReturnType<typeof useRoomCount>, number>();
  useRoomCount(chatRoom('a'));
  same<ReturnType<typeof useUnread>['unread'], number>();
  const suspended = useSuspenseRoom(chatRoom('a'), { events: ['message'] });
  same<typeof suspended.events, readonly TimelineEvent<Chat, 'message'>[]>();
  // @ts-expect-error: no such event
  useSuspenseRoom(chatRoom('a'), { events: ['massage'] });
  same<ReturnType<typeof useSuspenseNotifications<string>>['notifications'][number]['data'], string>();
  same<ReturnType<typeof useUnread>['markRead'], () => string | undefined>();
  useUnread(null);
  useUnread('lobby', { events: ['anything'], since: 'p1' });
  useUnread(chatRoom('a'), { events: ['message'] });
  // @ts-expect-error: no such event
  useUnread(chatRoom('a'), { events: ['massage'] });
  useRoom(chatRoom('a'), { members: 'count' }).count.toFixed();
  // @ts-expect-error: neither true, false nor 'count'
  useRoom(chatRoom('a'), { members: 'list' });
  useRoomEvent(chatRoom('a'), 'message', ({ text }, { event, position }) => {
    same<typeof text, string>();
    same<typeof event, 'message'>();
    same<typeof position, string | undefined>();
  });
  useRoomEvent(chatRoom('a'), '*', (_, context) => {
    if (context.event === 'read') same<typeof context.data, number>();
  });
  // @ts-expect-error: no such event
  useRoomEvent(chatRoom('a'), 'massage', () => {});

  useErrorListener((error) => same<typeof error, unknown>());
}
