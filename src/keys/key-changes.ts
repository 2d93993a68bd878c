/** What differs between two sets of key groups. Pure. */
import type { KeyGroup } from "../queues/key-groups.ts";

export interface KeyChanges {
  added: string[];
  removed: string[];
  /** In both sets, and not alike. */
  changed: string[];
  /** Keys of the later set that begin anew: added, enabled, or with another secret or address. What a provider held against them is void. */
  renewed: { keyGroup: string; keyId: string }[];
}

export function changesBetween(before: readonly KeyGroup[], after: readonly KeyGroup[]): KeyChanges {
  const old = new Map(before.map((group) => [group.id, group]));
  const now = new Map(after.map((group) => [group.id, group]));
  return {
    added: [...now.keys()].filter((id) => !old.has(id)),
    removed: [...old.keys()].filter((id) => !now.has(id)),
    changed: after.filter((group) => old.has(group.id) && !alike(old.get(group.id), group)).map(({ id }) => id),
    renewed: after.flatMap((group) => {
      const known = old.get(group.id);
      return group.keys
        .filter(({ id, secret }) => {
          const key = known?.keys.find((other) => other.id === id);
          return key?.secret !== secret || known?.baseUrl !== group.baseUrl;
        })
        .map(({ id }) => ({ keyGroup: group.id, keyId: id }));
    }),
  };
}

export const alike = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
