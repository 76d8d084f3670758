import {
  type AnyEventContext,
  type Client,
  connect,
  type Jsonify,
  type MemberInfo,
  type Room,
  type RoomName,
} from 'rollcall/client';

// Only type-checked, never run.

/** True when A and B are the same type; `any` is the same only as itself. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ['these types differ', A, B]): void {}

interface Money {
  toJSON(): { amount: string; at: Date };
}
interface Tree {
  label: string;
  born: Date;
  children: Tree[];
}
type Colour = 'red' | 'blue';

// What JSON keeps.
same<Jsonify<string>, string>();
same<Jsonify<Colour | 7 | null>, Colour | 7 | null>();
same<Jsonify<boolean>, boolean>();
same<Jsonify<unknown>, unknown>();
same<Jsonify<{ a: { b: number[] } }>, { a: { b: number[] } }>();
same<Jsonify<{ readonly a: string; b?: number }>, { readonly a: string; b?: number }>();
same<Jsonify<Record<string, number>>, Record<string, number>>();
same<Jsonify<readonly [string, number]>, readonly [string, number]>();
same<Jsonify<{ type: 'a'; n: 1 } | { type: 'b'; m: 2 }>, { type: 'a'; n: 1 } | { type: 'b'; m: 2 }>();
same<Jsonify<{ any: unknown }>, { any: unknown }>();

// What JSON changes.
same<Jsonify<Date>, string>();
same<Jsonify<URL | Date | 1>, string | 1>();
same<Jsonify<Money>, { amount: string; at: string }>();
same<
  Jsonify<{ at: Date; days: Date[]; span: [Date, Date] }>,
  { at: string; days: string[]; span: [string, string] }
>();
same<Jsonify<{ a: string | undefined; b: undefined; c: () => void }>, { a?: string }>();
same<Jsonify<(string | undefined)[]>, (string | null)[]>();
same<
  Jsonify<{ tags: Map<string, string>; set: Set<number> }>,
  { tags: Record<string, never>; set: Record<string, never> }
>();
same<Jsonify<bigint>, never>();
same<Jsonify<Tree>['children'][number]['children'][number]['born'], string>();

interface Chat {
  message: { text: string; sent: Date };
  read: number;
}
interface Info {
  name: string;
  since: Date;
}

// The types are declared once, with the name.
const chatRoom = (id: string) => `chat:${id}` as RoomName<Chat, Info>;
declare const client: Client;
const room = client.join(chatRoom('a'), { members: true, info: { name: 'Ann', since: new Date() } });
same<typeof room, Room<Chat, Info>>();
room.on('message', ({ text, sent }, { event, data }) => {
  same<typeof text, string>();
  same<typeof sent, string>();
  same<typeof event, 'message'>();
  same<typeof data, { text: string; sent: string }>();
});
room.on('*', (data, context) => {
  same<typeof data, { text: string; sent: string } | number>();
  same<typeof context, AnyEventContext<Chat>>();
  if (context.event === 'read') same<typeof context.data, number>();
});
void room.send('message', { text: 'hello', sent: new Date() });
void room.send('read', 1, { transient: true });
void room.update({ name: 'Ann', since: new Date() });
same<typeof room.members, ReadonlyMap<string, MemberInfo<{ name: string; since: string } | null>>>();
room.onMembers((members) => void members.get('bob')?.info?.name.length);

// @ts-expect-error: no such event
room.on('massage', () => {});
// @ts-expect-error: no such event
void room.send('massage', { text: 'hello', sent: new Date() });
// @ts-expect-error: not the data of the event
void room.send('read', '1');
// @ts-expect-error: not the info of the room
void room.update({ nick: 'Ann' });
// @ts-expect-error: not the info of the room
client.join(chatRoom('a'), { info: 'Ann' });
// @ts-expect-error: a name needs a declaration to be one
const undeclared: RoomName<Chat> = 'chat:b';
void undeclared;

// Without declared types, and with types at the call.
const anyRoom = client.join('lobby', { info: { name: 'Ann' } });
same<typeof anyRoom, Room>();
void anyRoom.send('whatever', 1);
anyRoom.on('whatever', (data, { event }) => {
  same<typeof data, unknown>();
  same<typeof event, 'whatever'>();
});
const lobby = client.join<Chat>('lobby');
same<typeof lobby, Room<Chat>>();

// Events of the user.
connect<Chat>({ url: '/' }).events.on('read', (at) => void at.toFixed());
// @ts-expect-error: no such event
connect<Chat>({ url: '/' }).events.on('reed', () => {});
