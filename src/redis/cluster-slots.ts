import { type Command, isScriptCall, type Payload, type Reply } from './driver.js';

export const SLOTS = 16_384;

/** CRC16 (XMODEM) by byte value. */
const CRC16 = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc & 0xffff;
});

/** Computed from the hash tag if there is one. */
export function slotOf(key: Payload): number {
  const open = key.indexOf('{');
  const close = open === -1 ? -1 : key.indexOf('}', open + 1);
  const [from, to] = close > open + 1 ? [open + 1, close] : [0, key.length];
  const bytes = typeof key === 'string' ? Buffer.from(key.slice(from, to)) : key.subarray(from, to);
  let crc = 0;
  for (const byte of bytes) crc = ((crc << 8) & 0xffff) ^ (CRC16[(crc >> 8) ^ byte] as number);
  return crc % SLOTS;
}

/** Commands that any node can run. Classic PUBLISH is one of them, because nodes forward it to each other. */
// biome-ignore format: a list
const KEYLESS = new Set([
  'ACL', 'CLIENT', 'CLUSTER', 'COMMAND', 'CONFIG', 'DBSIZE', 'ECHO', 'FLUSHALL', 'FLUSHDB', 'FUNCTION', 'INFO', 'KEYS',
  'LATENCY', 'MEMORY', 'PING', 'PUBLISH', 'PUBSUB', 'RANDOMKEY', 'ROLE', 'SCAN', 'SCRIPT', 'SLOWLOG', 'TIME', 'WAIT',
]);
const EVALS = new Set(['EVAL', 'EVALSHA', 'EVAL_RO', 'EVALSHA_RO', 'FCALL', 'FCALL_RO']);

/** Undefined if any node can run the command. */
export function slotOfCommand(command: Command): number | undefined {
  const key = keyOf(command);
  return key === undefined ? undefined : slotOf(key);
}

function keyOf(command: Command): Payload | undefined {
  if (isScriptCall(command)) return command.keys[0];
  const name = command[0].toUpperCase();
  if (KEYLESS.has(name)) return undefined;
  if (EVALS.has(name)) return Number(command[2]) > 0 ? command[3] : undefined;
  return command[1];
}

/** From one node's CLUSTER SLOTS reply. Nodes are identified by `host:port`. */
export class SlotMap {
  readonly masters: readonly string[];
  /** Masters and healthy replicas. */
  readonly nodes: readonly string[];
  readonly #owners: readonly (string | undefined)[];

  private constructor(masters: readonly string[], nodes: readonly string[], owners: (string | undefined)[]) {
    this.masters = masters;
    this.nodes = nodes;
    this.#owners = owners;
  }

  /** Undefined if the reply of the node at `asked` contains no map. */
  static from(reply: Reply | undefined, asked: string): SlotMap | undefined {
    if (!Array.isArray(reply)) return undefined;
    const masters = new Set<string>();
    const replicas = new Set<string>();
    const owners = new Array<string | undefined>(SLOTS);
    for (const row of reply as readonly Reply[]) {
      if (!Array.isArray(row)) return undefined;
      const [first, last, ...nodes] = row as readonly Reply[];
      const [master, ...others] = nodes.map((node) => addressIn(node, asked));
      if (master === undefined) continue;
      masters.add(master);
      for (const other of others) if (other !== undefined) replicas.add(other);
      owners.fill(master, Number(first), Number(last) + 1);
    }
    if (masters.size === 0) return undefined;
    return new SlotMap([...masters], [...new Set([...masters, ...replicas])], owners);
  }

  owner(slot: number): string | undefined {
    return this.#owners[slot];
  }

  equals(other: SlotMap): boolean {
    return (
      this.nodes.length === other.nodes.length &&
      this.nodes.every((node) => other.nodes.includes(node)) &&
      this.#owners.every((owner, slot) => owner === other.owner(slot))
    );
  }
}

/** A node without a host is at the host of the node that replied. */
function addressIn(node: Reply, asked: string): string | undefined {
  if (!Array.isArray(node)) return undefined;
  const [host, port] = node as readonly Reply[];
  // The replying node does not know this node's host.
  if (host === '?') return undefined;
  return joinAddress(host === null || host === '' ? splitAddress(asked).host : String(host), Number(port));
}

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

export function joinAddress(host: string, port: number): string {
  return `${host}:${port}`;
}

/** The host may be an IPv6 address, which contains colons. */
export function splitAddress(address: string): HostAndPort {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

/** Error codes by which a node refuses a command for now or redirects it. The command has not run. */
const RETRYABLE_ERROR = /^(?:MOVED|ASK|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|LOADING|READONLY)\b/;

export function isRetryableError(error: unknown): error is Error {
  return error instanceof Error && RETRYABLE_ERROR.test(error.message);
}

export function parseMovedAddress(error: Error, asked: string): string | undefined {
  const [, target] = /^MOVED \d+ (\S*:\d+)/.exec(error.message) ?? [];
  if (target === undefined) return undefined;
  const { host, port } = splitAddress(target);
  return host === '' ? joinAddress(splitAddress(asked).host, port) : target;
}

/** Keeps the order. */
export function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

/** A master with a single slot needs 16,384 tries on average. */
const MAX_TRIES = 262_144;

/** For each master, one key in one of its slots. `slots`: reply to CLUSTER SLOTS. */
export function keysOfMasters(
  slots: readonly Reply[],
): { readonly master: HostAndPort; readonly key: string }[] {
  const owners: (string | undefined)[] = [];
  const missing = new Map<string, HostAndPort>();
  for (const range of slots as readonly (readonly Reply[])[]) {
    const [first, last, node] = range;
    const id = String(node);
    const [host, port] = node as readonly Reply[];
    missing.set(id, { host: String(host ?? ''), port: Number(port) });
    for (let slot = Number(first); slot <= Number(last); slot++) owners[slot] = id;
  }
  const found: { master: HostAndPort; key: string }[] = [];
  for (let at = 0; at < MAX_TRIES && missing.size > 0; at++) {
    const key = at.toString(36);
    const owner = owners[slotOf(key)] ?? '';
    const master = missing.get(owner);
    if (master === undefined) continue;
    missing.delete(owner);
    found.push({ master, key });
  }
  return found;
}
