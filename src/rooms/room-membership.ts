import { assertPosition, type Position } from '../history/position.js';
import { InvalidArgumentError } from '../internal/errors.js';
import { allOrFirstError } from '../internal/promises.js';
import { assertOptions, numberOption } from '../internal/validate.js';
import { ChannelListener } from './channel-listener.js';
import type { JoinOptions } from './options.js';
import type { MemberSocket, RoomContext } from './room-context.js';

/** A socket's place in one room. What is asked of it is done one after the other. */
export class RoomMembership {
  /** It is there, or was told to come and has not been told to leave since. */
  wanted = true;
  readonly #host: RoomContext;
  readonly #occupant: MemberSocket;
  readonly #room: string;
  readonly #ear: ChannelListener;
  /** The user is a member of the presence room by it. */
  #present = false;
  #watching = false;
  #tail: Promise<unknown>;

  /** What is asked of it waits for `before`. */
  constructor(host: RoomContext, occupant: MemberSocket, room: string, before?: RoomMembership) {
    this.#tail = before === undefined ? Promise.resolve() : before.#tail;
    this.#host = host;
    this.#occupant = occupant;
    this.#room = room;
    this.#ear = new ChannelListener(host, occupant, room);
  }

  get position(): Position | undefined {
    return this.#ear.position;
  }

  /** Does `task` when everything before it is done. */
  enqueue<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#tail.then(task);
    this.#tail = done.catch(() => {});
    return done;
  }

  /** Comes in; one who is there already shows another `info`. */
  async join({ since, last, info, members = false }: JoinOptions): Promise<void> {
    const { presence, rosters } = this.#host;
    const { id, userId, outlet } = this.#occupant;
    const comes = !this.#ear.open;
    const shown = comes || info !== undefined ? presence?.join(this.#room, userId, id, info) : undefined;
    await allOrFirstError([
      comes ? this.#ear.start(since, last) : undefined,
      shown?.then(() => {
        this.#present = true;
      }),
    ]);
    if (!members || this.#watching) return;
    await rosters?.subscribe(this.#room, outlet);
    this.#watching = true;
  }

  /** Goes out; `present`: out of the presence room as well. */
  async leave(present: boolean): Promise<void> {
    const { presence, rosters } = this.#host;
    const { id, userId, outlet } = this.#occupant;
    const watching = this.#watching;
    this.#watching = false;
    // What failed to come in is made up for by the presence service.
    const leaves = present && this.#present;
    this.#present = false;
    await allOrFirstError([
      this.#ear.close(),
      watching ? rosters?.unsubscribe(this.#room, outlet) : undefined,
      leaves ? presence?.leave(this.#room, userId, id) : undefined,
    ]);
  }
}

/** Throws unless `options` can be those of `join`. */
export function assertJoinOptions(options: JoinOptions, within = ''): void {
  assertOptions('options', options);
  const { since, last } = options;
  if (since !== undefined && since !== 'earliest') assertPosition(`${within}since`, since);
  const count = numberOption(`${within}last`, last, 0, { min: 0, max: 1_000, integer: true });
  if (count > 0 && since !== undefined)
    throw new InvalidArgumentError(`${within}last`, 'cannot go with since');
}
