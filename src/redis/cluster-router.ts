import { backoff, systemClock } from '../internal/clock.js';
import { ConnectionError } from '../internal/errors.js';
import { sleep } from './cluster-node.js';
import { groupBy, isRetryableError, parseMovedAddress, slotOf, slotOfCommand } from './cluster-slots.js';
import type { ClusterTopology } from './cluster-topology.js';
import type { Command, ExecuteOptions, Reply } from './driver.js';
import { toRollcallError } from './replies.js';

/** Time during which a refused command is retried, in ms. */
const RETRY_BUDGET = 2_000;
/** In ms. */
const FIRST_RETRY_DELAY = 20;
const MAX_RETRY_DELAY = 200;
/** Replaces a slot for commands that any node can run. */
const ANY_NODE = -1;

/** The unit of retrying: one command, or a whole transaction. */
interface RoutedCommand {
  readonly commands: readonly Command[];
  readonly slot: number;
  /** Index of the first reply. */
  readonly at: number;
  cause?: Error;
}

interface ExecuteCall {
  readonly atomic: boolean;
  readonly buffers: boolean;
  readonly replies: Reply[];
  readonly unsent: RoutedCommand[];
  /** On the monotonic clock. */
  readonly end: number;
  /** Nothing more is sent for the call. */
  settled: boolean;
}

/**
 * Sends each command to the owner of its slot, and refused ones to the new owner. Commands for one slot keep
 * their order: later ones wait for a retry.
 */
export class ClusterRouter {
  readonly #topology: ClusterTopology;
  /** Calls that wait for a retry. */
  readonly #waitersBySlot = new Map<number, (() => void)[]>();
  #keylessNode: string | undefined;

  constructor(topology: ClusterTopology) {
    this.#topology = topology;
  }

  /** Always the same node, so that publications keep their order. */
  get keylessNode(): string | undefined {
    if (this.#keylessNode === undefined || !this.#topology.isHealthy(this.#keylessNode)) {
      this.#keylessNode = this.#topology.pick();
    }
    return this.#keylessNode;
  }

  async execute(commands: readonly Command[], options: ExecuteOptions = {}): Promise<Reply[]> {
    const { atomic = false, buffers = false, key } = options;
    const units = atomic
      ? [toRoutedTransaction(commands, key)]
      : commands.map((command, at) => toRoutedCommand(command, at, key));
    const call: ExecuteCall = {
      atomic,
      buffers,
      replies: new Array(commands.length),
      unsent: [],
      end: performance.now() + RETRY_BUDGET,
      settled: false,
    };
    try {
      await this.#deliver(call, units);
    } catch (error) {
      throw toRollcallError(error);
    } finally {
      call.settled = true;
    }
    return collectReplies(call, units);
  }

  /** Waits for retries of the same slots first. */
  async #deliver(call: ExecuteCall, units: readonly RoutedCommand[]): Promise<void> {
    const deliveries: Promise<void>[] = [];
    const free =
      this.#waitersBySlot.size === 0 ? units : units.filter((unit) => !this.#waitersBySlot.has(unit.slot));
    for (const [address, part] of groupBy(free, (unit) => this.#addressFor(unit))) {
      const sent = this.#send(call, address, part);
      deliveries.push(
        sent.then((refused) => (refused.length > 0 ? this.#handleRefused(call, refused) : undefined)),
      );
    }
    if (free.length < units.length) deliveries.push(...this.#wait(call, units));
    await Promise.all(deliveries);
  }

  #wait(call: ExecuteCall, units: readonly RoutedCommand[]): Promise<void>[] {
    const waiting = units.filter((unit) => this.#waitersBySlot.has(unit.slot));
    return [...groupBy(waiting, ({ slot }) => this.#waitersBySlot.get(slot))].map(
      ([waiters, group]) =>
        new Promise<void>((resolve, reject) => {
          waiters?.push(() => {
            if (performance.now() < call.end) this.#deliver(call, group).then(resolve, reject);
            else {
              call.unsent.push(...group);
              resolve();
            }
          });
        }),
    );
  }

  /** Runs after retries of the same slots by other calls. */
  async #handleRefused(call: ExecuteCall, refused: readonly RoutedCommand[]): Promise<void> {
    const first = refused.filter((unit) => !this.#waitersBySlot.has(unit.slot));
    await Promise.all([...this.#wait(call, refused), this.#retryUntilAccepted(call, first)]);
  }

  /** Other commands for these slots wait until all units run or the time is over. */
  async #retryUntilAccepted(call: ExecuteCall, units: readonly RoutedCommand[]): Promise<void> {
    const held = new Map<number, (() => void)[]>();
    for (const { slot } of units) held.set(slot, []);
    for (const [slot, waiters] of held) this.#waitersBySlot.set(slot, waiters);
    const release = (left: readonly RoutedCommand[]): void => {
      const still = new Set(left.map(({ slot }) => slot));
      for (const [slot, waiters] of [...held]) {
        if (still.has(slot)) continue;
        held.delete(slot);
        this.#waitersBySlot.delete(slot);
        // Resumed in the order in which they came.
        for (const resume of waiters) resume();
      }
    };
    let left = units;
    try {
      for (let attempt = 0; left.length > 0 && !call.settled; attempt++) {
        if (performance.now() >= call.end || this.#topology.closed) {
          call.unsent.push(...left);
          return;
        }
        const [unit] = left as [RoutedCommand];
        const target = unit.cause && parseMovedAddress(unit.cause, this.#addressFor(unit) ?? '');
        await sleep(backoff(systemClock, attempt, FIRST_RETRY_DELAY, MAX_RETRY_DELAY));
        await this.#topology.refresh(target);
        const parts = groupBy(left, (each) => this.#addressFor(each));
        const again = [...parts].map(([address, part]) => this.#send(call, address, part));
        left = (await Promise.all(again)).flat();
        release(left);
      }
    } finally {
      release([]);
    }
  }

  /** Resolves with the refused units. */
  async #send(
    call: ExecuteCall,
    address: string | undefined,
    units: readonly RoutedCommand[],
  ): Promise<readonly RoutedCommand[]> {
    const fail = (cause: Error): readonly RoutedCommand[] => {
      for (const unit of units) unit.cause = cause;
      return units;
    };
    if (call.settled) return units;
    try {
      if (address === undefined) throw new ConnectionError('no node of the cluster has the slot');
      const node = this.#topology.node(address);
      if (node.unresponsive) throw new ConnectionError(`the node at ${address} does not answer`);
      const commands =
        units.length === 1 ? (units[0] as RoutedCommand).commands : units.flatMap((unit) => unit.commands);
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
        if (!isRetryableError(reply)) return false;
        unit.cause = reply;
        return true;
      });
    } catch (error) {
      const cause = error as Error;
      if ((cause instanceof ConnectionError && cause.outcome === 'failed') || isRetryableError(cause))
        return fail(cause);
      throw cause;
    }
  }

  #addressFor({ slot }: RoutedCommand): string | undefined {
    return slot === ANY_NODE ? this.keylessNode : this.#topology.map?.owner(slot);
  }
}

function toRoutedTransaction(commands: readonly Command[], key: string | undefined): RoutedCommand {
  const slots = commands.map(slotOfCommand);
  const slot = key === undefined ? slots.find((each) => each !== undefined) : slotOf(key);
  return { commands, slot: slot ?? ANY_NODE, at: 0 };
}

function toRoutedCommand(command: Command, at: number, key: string | undefined): RoutedCommand {
  const slot = key === undefined ? slotOfCommand(command) : slotOf(key);
  return { commands: [command], slot: slot ?? ANY_NODE, at };
}

/** If only some commands ran, each of the others has an error as its reply. */
function collectReplies(call: ExecuteCall, units: readonly RoutedCommand[]): Reply[] {
  const { unsent, replies } = call;
  if (unsent.length === 0) return replies;
  const errors = unsent.map(
    ({ cause }) =>
      new ConnectionError(`the cluster did not run a command: ${cause?.message ?? 'no time left'}`, {
        cause,
      }),
  );
  if (unsent.length === units.length) throw errors[0];
  unsent.forEach((unit, at) => {
    replies[unit.at] = errors[at] as Error;
  });
  return replies;
}
