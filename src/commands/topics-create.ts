/** `vigilane topics create`: makes the topics of the topics' file; of those that are there it shows what differs. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Difference, planOf, settingsOf, type TopicPlan } from "../topics/topic-plan.ts";
import type { TopicTools, TopicWish } from "../topics/topic-tools.ts";
import { readTopicsFile } from "../topics/topics-file.ts";
import { showBytes, showDuration } from "./quantities.ts";
import { say, type TopicsCall, wrongUse } from "./topics-call.ts";
import { topicsUsage } from "./topics-help.ts";

const HERE = "redpanda/topics.yaml";
/** Two folders up from the sources, three from the server's own build. */
const OURS = ["../../redpanda/topics.yaml", "../../../redpanda/topics.yaml"];

export async function create({ tools, names, flag, given, operands }: TopicsCall): Promise<void> {
  if (operands.length > 0) throw wrongUse("that is too much", topicsUsage("create"));
  const wishes = readTopicsFile(flag("file") ?? defaultFile(), names);
  const [dry, apply] = [given("dry-run"), given("apply")];
  const brokers = await tools.brokers();
  const plans: TopicPlan[] = [];
  for (const wish of wishes) {
    const plan = planOf(wish, await tools.describe(wish.topic), brokers, tools.configOf);
    if (!dry) await carryOut(plan, tools, apply);
    plans.push(plan);
    const made = inWords(wish, Math.min(wish.copies, brokers), tools.configOf(wish, 1, 1) === null);
    if (!given("json")) say(lines(plan, { dry, apply, made }).join("\n"));
  }
  if (given("json"))
    return say(
      JSON.stringify(
        plans.map(({ wish: _, ...plan }) => plan),
        null,
        2,
      ),
    );
  const left = plans.filter((plan) => plan.differences.some(({ kind }) => kind === "setting")).length;
  if (dry) say("\nNothing was changed (--dry-run).");
  else if (left > 0 && !apply) say(`\nThe settings of ${left} of ${plans.length} topics differ; --apply changes them.`);
}

async function carryOut(plan: TopicPlan, tools: TopicTools, apply: boolean): Promise<void> {
  const { topic, wish, missing, differences } = plan;
  if (missing) return tools.create(wish);
  if (differences.some(({ kind }) => kind === "grows")) await tools.grow(topic, wish.shards);
  const settings = settingsOf(plan);
  if (apply && Object.keys(settings).length > 0) await tools.configure(topic, settings);
}

/** One line with a ✓ for each topic, and below it a line for each difference. */
function lines(
  { topic, missing, differences }: TopicPlan,
  { dry, apply, made }: { dry: boolean; apply: boolean; made: string },
): string[] {
  const head = `${dry && (missing || differences.length > 0) ? "·" : "✓"} ${topic.padEnd(36)}`;
  if (missing) return [`${head} ${dry ? "would be created" : "created"}: ${made}`];
  if (differences.length === 0) return [`${head} as wished`];
  const done = ({ kind }: Difference) => !dry && (kind === "grows" || (kind === "setting" && apply));
  const changed = differences.filter(done).length;
  return [
    `${head} ${dry ? "differs" : changed === differences.length ? "changed" : "differs, and stays so"}`,
    ...differences.map((difference) => {
      const { what, is, wished, kind } = difference;
      const what_ = `    ${kind === "never" ? "!" : done(difference) ? "✓" : "~"} ${what}: ${shown(what, is)} → ${shown(what, wished)}`;
      if (kind === "never") return `${what_} (${WHY_NEVER[what] ?? "stays as it is"})`;
      return kind === "setting" && !apply ? `${what_} (with --apply)` : what_;
    }),
  ];
}

const WHY_NEVER: Record<string, string> = {
  partitions: "partitions never become fewer",
  replicas: "copies are moved by the brokers' own tools",
};

/** The store keeps its topics as the running roles are set, so of them the file says only the partitions. */
function inWords({ shards, retentionMs, maxBytes }: TopicWish, copies: number, inStore: boolean): string {
  const partitions = `${shards} ${shards === 1 ? "partition" : "partitions"}`;
  if (inStore) return `${partitions}, in the store`;
  const kept = `${showDuration(retentionMs)}, ${showBytes(maxBytes)}`;
  return `${partitions}, ${copies} ${copies === 1 ? "copy" : "copies"}, ${kept}`;
}

function shown(what: string, value: string): string {
  const number = Number(value);
  if (!Number.isFinite(number) || number < 0) return value;
  if (what.endsWith(".ms")) return `${value} (${showDuration(number)})`;
  return what.endsWith(".bytes") ? `${value} (${showBytes(number)})` : value;
}

/** That of the working folder, else the one that vigilane brings. */
function defaultFile(): string {
  const [ofSources = "", ofBuild = ""] = OURS.map((path) => fileURLToPath(new URL(path, import.meta.url)));
  return [HERE, ofSources].find((path) => existsSync(path)) ?? ofBuild;
}
