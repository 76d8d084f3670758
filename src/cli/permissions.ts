import type { HostAndPort } from '../redis/cluster-slots.js';
import type { Reply } from '../redis/driver.js';
import type { AclNeed } from './acl-rules.js';
import type { RedisAddress } from './address.js';
import type { CliConnection } from './cli-connection.js';
import { RawConnection } from './raw-connection.js';

/** The needs that the user's ACL rules refuse. */
export interface PermissionReport {
  readonly user: string;
  readonly missing: readonly AclNeed[];
}

/** A refusal names the command, the channels or the keys. */
type Refused = 'command' | 'channel' | 'key';

/**
 * Asks the server about another user, by ACL DRYRUN (Redis 7.0).
 *
 * @throws an `Error` with the server's refusal.
 */
export async function checkOtherUser(
  connection: CliConnection,
  key: string,
  user: string,
  needs: readonly AclNeed[],
): Promise<PermissionReport> {
  const all = [...needs, ...TRANSACTION];
  const replies = await connection.attempt(
    all.map(({ call }) => ['ACL', 'DRYRUN', user, ...call] as const),
    connection.cluster ? { key } : {},
  );
  const failure = replies.find((reply) => reply instanceof Error);
  if (failure !== undefined) throw failure;
  return { user, missing: all.filter((need, at) => isMissing(need, String(replies[at]))) };
}

const TRANSACTION: readonly AclNeed[] = ['multi', 'exec'].map((name) => ({
  rule: `+${name}`,
  call: [name.toUpperCase()],
  optional: false,
}));

/**
 * Checks the user of the URL without rights of an administrator and without any effect: the commands are queued in a
 * transaction that Redis discards because its first command does not exist.
 */
export async function checkOwnUser(
  address: RedisAddress,
  node: HostAndPort,
  timeout: number,
  needs: readonly AclNeed[],
): Promise<PermissionReport> {
  const { tls, username, password } = address;
  const user = username ?? 'default';
  const raw = await RawConnection.open({ ...node, tls, timeout });
  try {
    if (password !== undefined) {
      const [reply] = await raw.send([['AUTH', ...(username === undefined ? [] : [username]), password]]);
      if (reply instanceof Error) throw reply;
    }
    const [begun] = await raw.send([['MULTI']]);
    // Nothing else can be queued: to send it would run it.
    if (begun instanceof Error) return { user, missing: TRANSACTION.slice(0, 1) };
    const [poison] = await raw.send([['ROLLCALL-DOCTOR']]);
    if (!(poison instanceof Error)) throw new Error('the transaction cannot be discarded');
    const replies = await raw.send(needs.map(({ call }) => call));
    const [executed] = await raw.send([['EXEC']]);
    const missing = needs.filter((need, at) => isMissing(need, refusalIn(replies[at])));
    if (isMissing(TRANSACTION[1] as AclNeed, refusalIn(executed))) missing.push(TRANSACTION[1] as AclNeed);
    return { user, missing };
  } finally {
    raw.close();
  }
}

/** A refused EXEC says so behind EXECABORT. */
function refusalIn(reply: Reply | undefined): string {
  return reply instanceof Error && reply.message.includes('NOPERM') ? reply.message : 'OK';
}

/** A need for keys or channels is unknown while its command is refused, which another need reports. */
function isMissing({ rule }: AclNeed, answer: string): boolean {
  if (answer === 'OK') return false;
  const needed: Refused = rule.startsWith('~') ? 'key' : rule.startsWith('&') ? 'channel' : 'command';
  return refusedPart(answer) === needed;
}

function refusedPart(text: string): Refused {
  if (/to run the/.test(text)) return 'command';
  return /channel/.test(text) ? 'channel' : 'key';
}
