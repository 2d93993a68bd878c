/** Which keys seem to share an account, by what their answers' headers say: a hint and never a proof. Pure. */
import type { ToldLimit } from "./told-limits.ts";

/** What one call with a key brought, in the order of the calls. */
export interface CalledKey {
  name: string;
  /** Whose account it is, where the provider tells. */
  owner: string | null;
  limits: readonly ToldLimit[];
  /** The call took a place: it was let in. */
  counted: boolean;
}

export interface Seeming {
  keys: string[];
  /** Why it seems so. */
  why: string;
}

/**
 * Of keys of one provider, address and model, called one after the other with nothing in between: those that name one owner;
 * and of those that name none, those whose remaining requests fell by exactly one from each to the next. Keys of their own
 * accounts begin each at its own count, which is the same for all that are fresh, and so does not fall.
 */
export function seemingAccounts(called: readonly CalledKey[]): Seeming[] {
  const owned = Map.groupBy(
    called.filter(({ owner }) => owner !== null),
    ({ owner }) => owner,
  );
  const byOwner = [...owned].map(([owner, keys]) => ({ keys, why: `the provider names ${owner} for each` }));
  const countdowns = countdownsIn(called.filter(({ owner }) => owner === null));
  const byCount = countdowns.map((keys) => ({ keys, why: "each call left one request less to the next key" }));
  return [...byOwner, ...byCount]
    .filter(({ keys }) => keys.length > 1)
    .map(({ keys, why }) => ({ keys: keys.map(({ name }) => name), why }));
}

function countdownsIn(called: readonly CalledKey[]): CalledKey[][] {
  const chains: { keys: CalledKey[]; limit: number | null; left: number }[] = [];
  for (const key of called) {
    const requests = key.limits.find(({ what }) => what.startsWith("requests"));
    if (!key.counted || !requests || requests.remaining === null) continue;
    const { limit, remaining } = requests;
    const chain = chains.find((one) => one.limit === limit && one.left - 1 === remaining);
    if (chain) {
      chain.keys.push(key);
      chain.left = remaining;
    } else chains.push({ keys: [key], limit, left: remaining });
  }
  return chains.map(({ keys }) => keys);
}
