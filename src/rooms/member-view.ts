import type { ViewerFilter } from '../internal/viewer-filter.js';
import type { MemberInfo } from '../protocol/frames.js';

/** Changes of a room's members that are sent together. */
export interface MemberChanges {
  readonly changed: ReadonlyMap<string, MemberInfo>;
  /** Users of `changed` who were no members before. */
  readonly newcomers: ReadonlySet<string>;
}

/** The members of a room as one viewer may see them. Only the hidden ones are kept: a viewer hides few. */
export class MemberView {
  readonly #filter: ViewerFilter;
  /** Members that the viewer does not know of. */
  readonly #hidden = new Set<string>();
  /** Users of the batch during which the view began, and whether they were members then. */
  #begun: Map<string, boolean> | undefined;

  constructor(filter: ViewerFilter) {
    this.#filter = filter;
  }

  /** `changed`: of the batch in progress; `members` includes these changes. */
  begin(members: Iterable<MemberInfo>, changed: ReadonlyMap<string, MemberInfo>): void {
    this.#hidden.clear();
    for (const { user } of members) if (!this.#filter.sees(user)) this.#hidden.add(user);
    if (changed.size === 0) return;
    this.#begun = new Map(Array.from(changed, ([user, { sockets }]) => [user, sockets > 0]));
  }

  isHidden(userId: string): boolean {
    return this.#hidden.has(userId);
  }

  get hiddenCount(): number {
    return this.#hidden.size;
  }

  sees(userIds: Iterable<string>): boolean {
    for (const userId of userIds) if (!this.#filter.sees(userId)) return false;
    return true;
  }

  /**
   * The changes that the viewer may see; `changed` itself if those are all. A member who has become hidden leaves, one who
   * has become visible joins with their next change.
   */
  apply({ changed, newcomers }: MemberChanges): ReadonlyMap<string, MemberInfo> {
    const seen = new Map<string, MemberInfo>();
    let isSame = true;
    for (const [user, member] of changed) {
      const isMember = member.sockets > 0;
      const wasMember = this.#begun?.get(user) ?? !newcomers.has(user);
      const wasShown = wasMember && !this.#hidden.delete(user);
      const isShown = this.#filter.sees(user);
      if (isMember && !isShown) this.#hidden.add(user);
      if (isShown && (isMember || wasShown)) seen.set(user, member);
      else {
        isSame = false;
        if (wasShown) seen.set(user, { user, info: null, sockets: 0 });
      }
    }
    this.#begun = undefined;
    return isSame ? changed : seen;
  }
}
