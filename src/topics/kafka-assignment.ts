/**
 * Who reads which partitions: each member its fair share, and of what it has now as much as that allows, so that a member
 * who comes or goes moves few partitions. Pure; computed by the group's leader.
 */

export interface Member {
  memberId: string;
  /** Partitions that it has now. */
  owned: readonly number[];
}

/** Every partition below `partitions` goes to exactly one member. */
export function assignPartitions(members: readonly Member[], partitions: number): Map<string, number[]> {
  const sorted = members.toSorted((a, b) => (a.memberId < b.memberId ? -1 : 1));
  // Those who have the most may keep one more, where the shares are not even.
  const byOwned = sorted.toSorted((a, b) => b.owned.length - a.owned.length);
  const share = (place: number) =>
    Math.floor(partitions / sorted.length) + (place < partitions % sorted.length ? 1 : 0);
  const free = new Set(Array.from({ length: partitions }, (_, partition) => partition));
  const assigned = new Map<string, number[]>();
  for (const [place, { memberId, owned }] of byOwned.entries()) {
    const kept = owned.filter((partition) => free.has(partition)).slice(0, share(place));
    for (const partition of kept) free.delete(partition);
    assigned.set(memberId, kept);
  }
  for (const [place, { memberId }] of byOwned.entries()) {
    const own = assigned.get(memberId) ?? [];
    for (const partition of free) {
      if (own.length >= share(place)) break;
      free.delete(partition);
      own.push(partition);
    }
  }
  return assigned;
}
