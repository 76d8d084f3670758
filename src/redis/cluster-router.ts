import { backoff, systemClock } from '../internal/clock.js';
import { ConnectionError } from '../internal/errors.js';
import { pause } from './cluster-node.js';
import { groupedBy, isNotNow, movedTo, slotOf, slotOfCommand } from './cluster-slots.js';
import type { Topology } from './cluster-topology.js';
import type { Command, ExecuteOptions, Reply } from './driver.js';
import { toRollcallError } from './replies.js';

/** For how long, in ms, what a node did not take is sent again; then the caller decides. */
const PATIENCE = 2_000;
/** Between attempts, in ms: the first time, and at most. */
const FIRST_RETRY = 20;
const LAST_RETRY = 200;
/** In place of a slot: any node will do. */
const ANYWHERE = -1;

/** What is sent, refused and sent again as one: a command, or a whole transaction. */
interface Unit {
  readonly commands: readonly Command[];
  readonly slot: number;
  /** Where the replies belong. */
  readonly at: number;
  /** Why it has not run yet. */
  cause?: Error;
}

/** One call of `execute`. */
interface Call {
  readonly atomic: boolean;
  readonly buffers: boolean;
  readonly replies: Reply[];
  readonly unsent: Unit[];
  /** When to give up. */
  readonly end: number;
  /** Its caller has been told that it failed. */
  over: boolean;
}

/**
 * Sends each command to the node that has its slot, and what a node did not take to the next that may.
 * Commands for one slot keep their order: while one is being sent again, later ones wait behind it.
 */
export class Router {
  readonly #topology: Topology;
  /** Those who wait behind what is sent again, by slot. */
  readonly #lines = new Map<number, (() => void)[]>();
  #anywhere: string | undefined;

  constructor(topology: Topology) {
    this.#topology = topology;
  }

  /** The node that gets what any node could: always the same one, so that publications keep their order. */
  get anywhere(): string | undefined {
    if (this.#anywhere === undefined || !this.#topology.trusted(this.#anywhere)) {
      this.#anywhere = this.#topology.pick();
    }
    return this.#anywhere;
  }

  /** As `Driver.execute`. */
  async execute(commands: readonly Command[], options: ExecuteOptions = {}): Promise<Reply[]> {
    const { atomic = false, buffers = false, key } = options;
    const units = atomic
      ? [transaction(commands, key)]
      : commands.map((command, at) => single(command, at, key));
    const call: Call = {
      atomic,
      buffers,
      replies: new Array(commands.length),
      unsent: [],
      end: performance.now() + PATIENCE,
      over: false,
    };
    try {
      await this.#deliver(call, units);
    } catch (error) {
      throw toRollcallError(error);
    } finally {
      call.over = true;
    }
    return answerOf(call, units);
  }

  /** Sends `units`, or lets them wait behind others for their slots. */
  async #deliver(call: Call, units: readonly Unit[]): Promise<void> {
    const ways: Promise<void>[] = [];
    const free = this.#lines.size === 0 ? units : units.filter((unit) => !this.#lines.has(unit.slot));
    for (const [address, part] of groupedBy(free, (unit) => this.#addressFor(unit))) {
      const sent = this.#send(call, address, part);
      ways.push(sent.then((refused) => (refused.length > 0 ? this.#refused(call, refused) : undefined)));
    }
    if (free.length < units.length) ways.push(...this.#wait(call, units));
    await Promise.all(ways);
  }

  #wait(call: Call, units: readonly Unit[]): Promise<void>[] {
    const held = units.filter((unit) => this.#lines.has(unit.slot));
    return [...groupedBy(held, ({ slot }) => this.#lines.get(slot))].map(
      ([line, group]) =>
        new Promise<void>((resolve, reject) => {
          line?.push(() => {
            if (performance.now() < call.end) this.#deliver(call, group).then(resolve, reject);
            else {
              call.unsent.push(...group);
              resolve();
            }
          });
        }),
    );
  }

  /** Sends again what did not run: what others are sending again for the same slot comes first. */
  async #refused(call: Call, refused: readonly Unit[]): Promise<void> {
    const first = refused.filter((unit) => !this.#lines.has(unit.slot));
    await Promise.all([...this.#wait(call, refused), this.#insist(call, first)]);
  }

  /** Sends `units` again until they run or the time is up; others for their slots wait behind them. */
  async #insist(call: Call, units: readonly Unit[]): Promise<void> {
    const held = new Map<number, (() => void)[]>();
    for (const { slot } of units) held.set(slot, []);
    for (const [slot, line] of held) this.#lines.set(slot, line);
    const release = (left: readonly Unit[]): void => {
      const still = new Set(left.map(({ slot }) => slot));
      for (const [slot, line] of [...held]) {
        if (still.has(slot)) continue;
        held.delete(slot);
        this.#lines.delete(slot);
        // They go on in their order.
        for (const go of line) go();
      }
    };
    let left = units;
    try {
      for (let attempt = 0; left.length > 0 && !call.over; attempt++) {
        if (performance.now() >= call.end || this.#topology.closed) {
          call.unsent.push(...left);
          return;
        }
        const [unit] = left as [Unit];
        const target = unit.cause && movedTo(unit.cause, this.#addressFor(unit) ?? '');
        await pause(backoff(systemClock, attempt, FIRST_RETRY, LAST_RETRY));
        await this.#topology.refresh(target);
        const parts = groupedBy(left, (each) => this.#addressFor(each));
        const again = [...parts].map(([address, part]) => this.#send(call, address, part));
        left = (await Promise.all(again)).flat();
        release(left);
      }
    } finally {
      release([]);
    }
  }

  /** Sends `units` to one node; resolves with those that it did not run. */
  async #send(call: Call, address: string | undefined, units: readonly Unit[]): Promise<readonly Unit[]> {
    const fail = (cause: Error): readonly Unit[] => {
      for (const unit of units) unit.cause = cause;
      return units;
    };
    if (call.over) return units;
    try {
      if (address === undefined) throw new ConnectionError('no node of the cluster has the slot');
      const node = this.#topology.node(address);
      if (node.silent) throw new ConnectionError(`the node at ${address} does not answer`);
      const commands =
        units.length === 1 ? (units[0] as Unit).commands : units.flatMap((unit) => unit.commands);
      const replies = await node.execute(commands, call.atomic, call.buffers);
      if (call.atomic) {
        replies.forEach((reply, at) => {
          call.replies[at] = reply;
        });
        return [];
      }
      return units.filter((unit, at) => {
        const reply = replies[at] as Reply;
        call.replies[unit.at] = reply;
        if (!isNotNow(reply)) return false;
        unit.cause = reply;
        return true;
      });
    } catch (error) {
      const cause = error as Error;
      if ((cause instanceof ConnectionError && cause.outcome === 'failed') || isNotNow(cause))
        return fail(cause);
      throw cause;
    }
  }

  #addressFor({ slot }: Unit): string | undefined {
    return slot === ANYWHERE ? this.anywhere : this.#topology.map?.owner(slot);
  }
}

function transaction(commands: readonly Command[], key: string | undefined): Unit {
  const slots = commands.map(slotOfCommand);
  const slot = key === undefined ? slots.find((each) => each !== undefined) : slotOf(key);
  return { commands, slot: slot ?? ANYWHERE, at: 0 };
}

function single(command: Command, at: number, key: string | undefined): Unit {
  const slot = key === undefined ? slotOfCommand(command) : slotOf(key);
  return { commands: [command], slot: slot ?? ANYWHERE, at };
}

/** The replies; where only some commands were not taken by any node, an error stands for each of these. */
function answerOf(call: Call, units: readonly Unit[]): Reply[] {
  const { unsent, replies } = call;
  if (unsent.length === 0) return replies;
  const errors = unsent.map(
    ({ cause }) =>
      new ConnectionError(`the cluster did not take a command: ${cause?.message ?? 'no time left'}`, {
        cause,
      }),
  );
  if (unsent.length === units.length) throw errors[0];
  unsent.forEach((unit, at) => {
    replies[unit.at] = errors[at] as Error;
  });
  return replies;
}
