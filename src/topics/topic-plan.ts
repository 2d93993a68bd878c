/** What is between a topic as it is and as it is to be. Pure. */
import type { TopicFacts, TopicWish } from "./topic-tools.ts";

export interface Difference {
  what: string;
  is: string;
  wished: string;
  /** grows: done at once. setting: done when told to. never: more partitions or other copies than wished stay; a setting that the broker does not have. */
  kind: "grows" | "setting" | "never";
}

export interface TopicPlan {
  topic: string;
  wish: TopicWish;
  /** There is none yet. */
  missing: boolean;
  differences: readonly Difference[];
}

/** `configOf`: the adapter's. `brokers`: no more copies than these can be wished. */
export function planOf(
  wish: TopicWish,
  facts: TopicFacts | null,
  brokers: number,
  configOf: (wish: TopicWish, shards: number, copies: number) => Readonly<Record<string, string>> | null,
): TopicPlan {
  const { topic } = wish;
  if (facts === null) return { topic, wish, missing: true, differences: [] };
  const differences: Difference[] = [];
  if (facts.shards !== wish.shards) {
    const kind = facts.shards < wish.shards ? "grows" : "never";
    differences.push({ what: "partitions", is: String(facts.shards), wished: String(wish.shards), kind });
  }
  const copies = Math.min(wish.copies, brokers);
  if (facts.copies !== copies) {
    differences.push({ what: "replicas", is: String(facts.copies), wished: String(copies), kind: "never" });
  }
  const wished = configOf(wish, Math.max(facts.shards, wish.shards), facts.copies) ?? {};
  for (const [what, value] of Object.entries(wished)) {
    const is = facts.config?.[what];
    if (facts.known?.includes(what) === false) {
      // Nothing can be set there. Ours are left out (Redpanda has no min.insync.replicas: a majority has to have what it
      // acknowledges); what the file itself wishes is told.
      if (what in wish.kafka) differences.push({ what, is: "unknown to the broker", wished: value, kind: "never" });
    } else if (is !== value) differences.push({ what, is: is ?? "the broker's own", wished: value, kind: "setting" });
  }
  return { topic, wish, missing: false, differences };
}

/** The settings to set, by Kafka's names. */
export const settingsOf = ({ differences }: TopicPlan): Record<string, string> =>
  Object.fromEntries(
    differences.filter(({ kind }) => kind === "setting").map(({ what, wished }) => [what, wished] as const),
  );
