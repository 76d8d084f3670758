import type { MemberInfo } from '../client/index.js';

const isSameMember = (one: MemberInfo, other: MemberInfo): boolean =>
  one === other || (one.sockets === other.sockets && JSON.stringify(one.info) === JSON.stringify(other.info));

/**
 * Keeps the objects of unchanged members, and `before` itself if nothing changed, because the server repeats the list
 * after a reconnect.
 */
export function shareMembers(
  before: ReadonlyMap<string, MemberInfo>,
  next: ReadonlyMap<string, MemberInfo>,
): ReadonlyMap<string, MemberInfo> {
  let changed = before.size !== next.size;
  const members = new Map<string, MemberInfo>();
  for (const [user, member] of next) {
    const known = before.get(user);
    const kept = known && isSameMember(known, member) ? known : member;
    changed ||= kept !== known;
    members.set(user, kept);
  }
  return changed ? members : before;
}
