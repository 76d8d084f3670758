import {
  createRollcall,
  type Json,
  type OwnStatus,
  type PresenceService,
  type RedisClient,
  RoomService,
  type RoomServiceOptions,
} from 'rollcall';

// Only type-checked, never run.

/** True when A and B are the same type; `any` is the same only as itself. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(..._: Same<A, B> extends true ? [] : ['these types differ', A, B]): void {}

declare const redis: RedisClient;
declare const pubsub: RoomServiceOptions['pubsub'];

type Note = { text: string; emoji?: string };

/** The text of a user's own status has the type that the application names once. */
export async function typed(): Promise<void> {
  const { presence } = createRollcall<Note>({ redis });
  same<typeof presence, PresenceService<Note>>();
  await presence.setStatus('ann', 'busy', { meta: { text: 'x' } });
  await presence.setStatus('ann', null, { meta: { text: 'x', emoji: 'y' } });
  // @ts-expect-error not the type of the service
  await presence.setStatus('ann', 'busy', { meta: 'x' });
  const own = (await presence.getPresence('ann'))?.ownStatus;
  same<typeof own, OwnStatus<Note> | undefined>();
  const next = own?.next?.meta?.text;
  same<typeof next, string | undefined>();
  // Rooms do not use it.
  new RoomService({ pubsub, presence });
}

/** Without a type it is JSON. */
export async function untyped(presence: PresenceService): Promise<Json | undefined> {
  await presence.setStatus('ann', 'busy', { meta: ['x'] });
  return (await presence.setPresence('ann', 's')).ownStatus?.meta;
}
