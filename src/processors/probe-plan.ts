/** What the probe of shared quotas (probe-sharing.ts) is handed, and what it will spend. Pure. */
export interface ProbedKey {
  name: string;
  /** The window that is filled: so many calls in so many ms, as far as is known. */
  window: { limit: number; windowMs: number };
  /** One call; never rejects. `onSent`: called when it leaves on a connection that is there. */
  ask(onSent: () => void): Promise<ProbeAnswer>;
}

/** full: refused for its rate. restMs: what the provider says about how long that lasts; 0: nothing. */
export type ProbeAnswer = { kind: "granted" } | { kind: "full"; restMs: number } | { kind: "unclear"; why: string };

export interface ProbePlan {
  /** Calls where every key has a quota of its own and nothing comes in between; of these about `refused` are refused, and free. */
  usual: number;
  refused: number;
  /** Calls that are never exceeded. */
  most: number;
  /** About so long, where nothing comes in between. */
  seconds: number;
}

/** Rounds that must agree; and in how many of them a key is asked, those that prove nothing among them. */
const ROUNDS = 3;
export const MOST_ROUNDS = 5;
/** How often the filling key itself is asked in a round. */
export const CONTROLS = 6;
/** How often a key is asked in one moment. */
const ASKS = 2;
/** What a window needs beyond its length until it is surely empty: what the network adds. */
export const REST = { factor: 1.2, moreMs: 100 };
/** A longer wait is not waited for. */
export const LONGEST_REST_MS = 120_000;

export type Windowed = Pick<ProbedKey, "window">;

/** A window of one call lets in no second one: there a key is asked once a moment, and twice as many rounds must agree. */
export const asksOf = ({ window }: Windowed) => Math.min(ASKS, window.limit);
export const roundsOf = (key: Windowed, rounds = ROUNDS) => (rounds * ASKS) / asksOf(key);

/** `mostCalls`: a tighter bound than the usual one, twice what is usual. */
export function planProbe(keys: readonly Windowed[], mostCalls = Number.POSITIVE_INFINITY): ProbePlan {
  const sum = (of: (filler: Windowed, others: readonly Windowed[]) => number) =>
    keys.slice(0, -1).reduce((all, filler, i) => {
      const others = keys.slice(i + 1);
      return all + Math.max(...others.map((key) => roundsOf(key))) * of(filler, others);
    }, 0);
  const asks = (others: readonly Windowed[]) => others.reduce((all, key) => all + asksOf(key), 0);
  const usual = sum(({ window }, others) => window.limit + 1 + CONTROLS + asks(others));
  return {
    usual,
    refused: sum(() => CONTROLS + 1),
    most: Math.min(mostCalls, 2 * usual),
    seconds: Math.ceil(sum(({ window }) => emptyAfterMs(window.windowMs) + 2_000) / 1_000),
  };
}

export const emptyAfterMs = (ms: number) => ms * REST.factor + REST.moreMs;
