import {
  type BinaryCodec,
  bufferCodec,
  type ChannelDefinition,
  type ChannelRef,
  type Codec,
  defineChannel,
  type HistoryOptions,
  type InferInput,
  type InferOutput,
  jsonCodec,
  type ResolvedChannelOptions,
  SchemaError,
  type SchemaIssue,
  type StandardSchema,
  type TextCodec,
} from 'rollcall';
import { createMsgpackCodec, type MsgpackOptions, msgpackCodec } from 'rollcall/msgpack';
import * as valibot from 'valibot';
import { z } from 'zod';

// Only type-checked, never run.

/** True when A and B are the same type; `any` is the same only as itself. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ['these types differ', A, B]): void {}

interface Chat {
  from: string;
  text: string;
}
interface Sent {
  at: string;
  tags?: string[] | undefined;
}
interface Received {
  at: number;
  tags: string[];
}

/** The parameter types of a service method that accepts a channel. */
declare function publish<Message>(channel: ChannelRef<Message, unknown>, message: Message): void;
declare function subscribe<Message>(
  channel: ChannelRef<never, Message>,
  handler: (message: Message) => void,
): void;
declare const chat: Chat;

// The template defines the params.
const room = defineChannel('room:{roomId}');
same<typeof room, ChannelDefinition<{ readonly roomId: string }>>();
same<Parameters<typeof room>, [params: { readonly roomId: string }]>();
same<ReturnType<typeof room.parse>, { readonly roomId: string } | undefined>();
room({ roomId: 'a' });
room.pattern();
room.pattern({ roomId: 'a' });
// @ts-expect-error: no params
room();
// @ts-expect-error: a param is missing
room({});
// @ts-expect-error: an id is a string
room({ roomId: 1 });
// @ts-expect-error: no such param
room({ roomId: 'a', userId: 'b' });
// @ts-expect-error: no such param
room.pattern({ userId: 'b' });
// @ts-expect-error: not optional
room({ roomId: undefined });

const three = defineChannel('{tenant}:room:{roomId}:user.{userId}', {});
same<
  Parameters<typeof three>[0],
  { readonly tenant: string; readonly roomId: string; readonly userId: string }
>();
three.pattern({ tenant: 'a', userId: 'b' });

const news = defineChannel('news');
same<Parameters<typeof news>, []>();
news();
// @ts-expect-error: the channel has no params
news({ roomId: 'a' });

declare const anyTemplate: string;
const unknownParams = defineChannel(anyTemplate);
unknownParams({ whatever: 'a' });

// Without a schema or a named type, messages are unknown.
same<ReturnType<typeof room>, ChannelRef<unknown, unknown>>();
publish(room({ roomId: 'a' }), 1);
subscribe(room({ roomId: 'a' }), (message) => {
  same<typeof message, unknown>();
});

// A named type is both the input and the output type.
const named = defineChannel<Chat>()('room:{roomId}', { history: { size: 1, ttl: 1 }, codec: jsonCodec });
same<typeof named, ChannelDefinition<{ readonly roomId: string }, Chat, Chat, true>>();
publish(named({ roomId: 'a' }), chat);
publish(named({ roomId: 'a' }), { from: 'a', text: 'b' });
subscribe(named({ roomId: 'a' }), (message) => {
  same<typeof message, Chat>();
});
subscribe<Chat>(named({ roomId: 'a' }), () => {});
// @ts-expect-error: not a Chat
publish(named({ roomId: 'a' }), { from: 'a' });
// @ts-expect-error: not a Chat
publish(named({ roomId: 'a' }), {});
// @ts-expect-error: not the message type of the channel
subscribe(named({ roomId: 'a' }), (_: { other: string }) => {});
// @ts-expect-error: the schema defines the type
defineChannel<Chat>()('room:{roomId}', { schema: z.string() });
// @ts-expect-error: a message type is not a template
defineChannel<Chat>('room:{roomId}');

// A schema has an input type and an output type.
const byZod = defineChannel('room:{roomId}', {
  schema: z.object({ at: z.string().transform(Number), tags: z.array(z.string()).default([]) }),
  validate: 'both',
});
const byValibot = defineChannel('room:{roomId}', {
  schema: valibot.object({
    at: valibot.pipe(valibot.string(), valibot.transform(Number)),
    tags: valibot.optional(valibot.array(valibot.string()), []),
  }),
});
for (const channel of [byZod({ roomId: 'a' }), byValibot({ roomId: 'a' })]) {
  publish<Sent>(channel, { at: '1' });
  subscribe(channel, (message) => {
    same<typeof message, Received>();
    same<typeof message.at, number>();
  });
}
publish(byZod({ roomId: 'a' }), { at: '1', tags: ['a'] });
// @ts-expect-error: the output type is not an input type
publish(byZod({ roomId: 'a' }), { at: 1, tags: [] });
// @ts-expect-error: not the input type of the schema
publish(byValibot({ roomId: 'a' }), { at: 1 });

declare const schema: StandardSchema<Sent, Received>;
same<InferInput<typeof schema>, Sent>();
same<InferOutput<typeof schema>, Received>();
const own = defineChannel('own', { schema });
same<typeof own, ChannelDefinition<ReturnType<typeof own.parse> & {}, Sent, Received>>();
same<ReturnType<typeof own>, ChannelRef<Sent, Received>>();

// Channels of any kind fit one list of names.
export const names: readonly string[] = [room({ roomId: 'a' }), news(), own(), byZod({ roomId: 'a' })].map(
  (channel: ChannelRef<never, unknown>) => channel.name,
);

// Definitions are read-only.
same<typeof room.history, Required<HistoryOptions> | undefined>();
same<ReturnType<typeof room>['definition'], ResolvedChannelOptions>();
// @ts-expect-error
room.sharded = true;
// @ts-expect-error
room({ roomId: 'a' }).name = 'other';

// Options.
// @ts-expect-error: no such option
defineChannel('x', { unknown: 1 });
// @ts-expect-error: both are needed
defineChannel('x', { history: { size: 1 } });
// @ts-expect-error: not one of the choices
defineChannel('x', { schema, validate: 'receive' });
// @ts-expect-error: no schema
defineChannel('x', { schema: {} });
defineChannel('x', { schema, codec: msgpackCodec, sharded: true, history: { size: 10, ttl: 60_000 } });

// Codecs.
same<typeof jsonCodec, TextCodec>();
same<typeof bufferCodec, BinaryCodec>();
same<typeof msgpackCodec, BinaryCodec>();
same<Codec, TextCodec | BinaryCodec>();
export const codecs: Codec[] = [
  jsonCodec,
  bufferCodec,
  createMsgpackCodec({ maps: 'map' }),
  { encode: String, decode: (payload) => payload },
  { binary: true, encode: () => Buffer.alloc(0), decode: (payload) => payload.length },
];
// @ts-expect-error: bytes need `binary: true`
export const wrong: Codec = { encode: () => Buffer.alloc(0), decode: () => {} };
export const options: MsgpackOptions = { maps: 'object' };

// Errors.
const error = new SchemaError('text', []);
same<typeof error.name, 'SchemaError'>();
same<typeof error.code, 'ERR_SCHEMA'>();
same<typeof error.issues, readonly SchemaIssue[]>();

// The helper rejects different types.
// @ts-expect-error
same<string, number>();
