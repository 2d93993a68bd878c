/** `vigilane topics rewind`: lets a group read again from a time on, or skip up to one. */
import { VigilaneError } from "../errors.ts";
import { outcomesKnownMs } from "../queues/outcomes-known.ts";
import { connectStoreSoon } from "../store.ts";
import { readRunFile } from "../supervisor/run-file.ts";
import { comparePositions, type Places } from "../topics/topic-log.ts";
import type { GroupFacts } from "../topics/topic-tools.ts";
import { readWhen, showCount, showDuration, showTime } from "./quantities.ts";
import { remark, say, type TopicsCall, topicThere, wrongUse } from "./topics-call.ts";
import { topicsUsage } from "./topics-help.ts";

const USAGE = topicsUsage("rewind");
const HOUR_MS = 3_600_000;

export async function rewind(call: TopicsCall): Promise<void> {
  const { tools, context, flag, given, operands } = call;
  const [name, to] = [flag("group"), flag("to")];
  if (name === undefined || to === undefined || operands.length > 0)
    throw wrongUse("--group and --to are needed", USAGE);
  const nowMs = context.clock.nowMs();
  const at = readWhen("to", to, nowMs);
  const { topic, group } = await find(call, name);
  if (!given("again")) await refuseForgotten(call, group.group, at, nowMs);
  const places = await tools.placesAt(topic, at);
  say(inWords(call, topic, group, places, typeof at === "number" ? showTime(at) : `the ${at} message`));
  if (group.consumers.length > 0) {
    const those = `it is consuming (${group.consumers.join(", ")})`;
    say(given("force") ? `${those}: what they have out is taken from them.` : `${those}.`);
  }
  if (given("dry-run")) return say("Nothing was changed (--dry-run).");
  await tools.move(topic, group.group, places, { force: given("force") });
  say("Done.");
}

/** The group, and the one topic that it reads unless --topic says which. */
async function find(call: TopicsCall, name: string): Promise<{ topic: string; group: GroupFacts }> {
  const { tools, flag } = call;
  const given = flag("topic");
  const topics = given === undefined ? await tools.topics() : [await topicThere(call, given)];
  const found: { topic: string; group: GroupFacts }[] = [];
  for (const topic of topics) {
    for (const group of await tools.groups(topic)) if (group.group === name) found.push({ topic, group });
  }
  const [only, ...others] = found;
  if (only === undefined) {
    throw new VigilaneError("TOPIC_UNKNOWN", `no group ${name} has read ${given ?? "any topic"}`);
  }
  if (others.length === 0) return only;
  throw wrongUse(`${name} reads ${found.map(({ topic }) => topic).join(" and ")}: say which with --topic`, USAGE);
}

/**
 * Admission knows what it has admitted for topicRetentionHours, as the bridges are set, after its outcome: of what is older a
 * group would get a second outcome.
 */
async function refuseForgotten(call: TopicsCall, group: string, at: number | string, nowMs: number): Promise<void> {
  const { settings } = call;
  if (group !== settings.bridgeGroup || at === "latest") return;
  const toldMs = await toldByBridges(call);
  const knownMs = toldMs ?? settings.topicRetentionHours * HOUR_MS;
  if (toldMs === null) {
    remark(
      "How long the bridges remember outcomes is not known here (no store of theirs): topicRetentionHours of this command counts.",
    );
  }
  if (typeof at === "number" && nowMs - at <= knownMs) return;
  throw new VigilaneError(
    "SETTINGS_INVALID",
    `outcomes are remembered for ${showDuration(knownMs)} (topicRetentionHours${toldMs === null ? "" : " of the bridges"}): groups from before that would get a second one`,
    { remedy: "Give a later --to; or --again, if a second outcome for those groups is what you want." },
  );
}

/** Ms, from the bridges' store; null: there is none to be asked, or no bridge has been on it. */
async function toldByBridges({ settings, context, signal }: TopicsCall): Promise<number | null> {
  const url = settings.redisUrl ?? storeBeside(settings);
  if (url === undefined) return null;
  const redis = await connectStoreSoon(url, context, signal);
  try {
    return await outcomesKnownMs(redis);
  } finally {
    redis.disconnect();
  }
}

/** That of the vigilane on the data folder, where it works on these brokers. */
function storeBeside({ data, kafkaBrokers }: TopicsCall["settings"]): string | undefined {
  const run = readRunFile(data);
  return run?.kafkaBrokers.some((broker) => kafkaBrokers.includes(broker)) ? run.redisUrl : undefined;
}

function inWords(
  { settings }: TopicsCall,
  topic: string,
  { group, places: now }: GroupFacts,
  to: Places,
  what: string,
): string {
  const steps = to.map((place, shard) => numberOf(now[shard] ?? place) - numberOf(place));
  const back = steps.reduce((sum, step) => sum + Math.max(0, step), 0);
  const ahead = steps.reduce((sum, step) => sum + Math.max(0, -step), 0);
  const moved = to.filter((place, shard) => comparePositions(now[shard] ?? place, place) !== 0).length;
  const effects = [
    ...(back > 0 ? [`${showCount(back)} messages come again`] : []),
    ...(ahead > 0 ? [`${showCount(ahead)} unread messages are skipped`] : []),
  ];
  const effect = effects.length > 0 ? effects.join(", ") : "nothing comes again and nothing is skipped";
  const once =
    group === settings.bridgeGroup && back > 0
      ? "\nGroups of them that have an outcome, or wait for one, keep it: admission passes over what it knows."
      : "";
  return `${group} on ${topic} goes to ${what}: ${effect} (${moved} of ${to.length} partitions).${once}`;
}

/** The number of a message in its shard: "1700-5" and "5" are the fifth (of Kafka: the offset). */
const numberOf = (position: string) => Number(/-?\d+$/.exec(position.replace(/^\d+-/, ""))?.[0] ?? 0);
