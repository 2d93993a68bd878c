/** `vigilane topics …`: creates the topics, shows how they and their groups stand, and changes where groups stand. */
import { loadSettings } from "../config.ts";
import { wireName } from "../topic-names.ts";
import { showBytes, showCount, showDuration } from "./quantities.ts";
import { table } from "./table.ts";
import { remark, say, type TopicsCall, topicThere, withTopics, wrongUse } from "./topics-call.ts";
import { copy } from "./topics-copy.ts";
import { create } from "./topics-create.ts";
import { isTopicsCommand, type TopicsCommand, topicsHelp, topicsUsage } from "./topics-help.ts";
import { rewind } from "./topics-rewind.ts";
import { tail } from "./topics-tail.ts";

const WATCH_MS = 2_000;

const OWN_FLAGS: Record<string, "string" | "boolean"> = {
  ...{ file: "string", "dry-run": "boolean", apply: "boolean", json: "boolean" },
  ...{ from: "string", count: "string", key: "string", whole: "boolean", "no-follow": "boolean" },
  ...{ group: "string", topic: "string", to: "string", force: "boolean", again: "boolean", watch: "boolean" },
  progress: "string",
};

const COMMANDS: Record<TopicsCommand, (call: TopicsCall) => Promise<unknown>> = {
  ...{ create, list, lag, tail, rewind, copy },
};

/** Resolves with the exit code. */
export async function topics(argv: readonly string[]): Promise<number> {
  const [command, ...rest] = argv;
  if (!isTopicsCommand(command)) {
    const unknown = command === undefined ? "" : `vigilane topics: there is no command "${command}".\n\n`;
    process.stderr.write(`${unknown}${topicsHelp(undefined)}`);
    return 2;
  }
  return withTopics(loadSettings(rest, process.env, OWN_FLAGS), COMMANDS[command]);
}

async function list({ tools, given, operands }: TopicsCall): Promise<void> {
  if (operands.length > 0) throw wrongUse("that is too much", topicsUsage("list"));
  const found = [];
  for (const topic of await tools.topics()) {
    const there = await tools.describe(topic);
    if (there === null) continue;
    const { known: _, ...facts } = there;
    found.push({ ...facts, groups: await tools.groups(topic) });
  }
  if (given("json")) return say(JSON.stringify(found, null, 2));
  const rows = found.map(({ topic, shards, copies, messages, bytes, config, groups }) => [
    ...[topic, String(shards), String(copies), showCount(messages), bytes === null ? "-" : showBytes(bytes)],
    retentionOf(config),
    groups.map(({ group, lag: { messages: behind } }) => `${group} ${showCount(behind)}`).join(", ") || "-",
  ]);
  say(table([["TOPIC", "PARTITIONS", "COPIES", "MESSAGES", "SIZE", "RETENTION", "GROUPS AND THEIR LAG"], ...rows]));
}

/** The store's topics are kept as the running roles are set. */
function retentionOf(config: Readonly<Record<string, string>> | null): string {
  if (config === null) return "by setting";
  const ms = config["retention.ms"];
  if (ms === undefined) return "the broker's";
  return Number(ms) < 0 ? "for ever" : showDuration(Number(ms));
}

async function lag(call: TopicsCall): Promise<void> {
  const { tools, flag, given, names, operands, context, signal } = call;
  if (operands.length > 1) throw wrongUse("that is too much", topicsUsage("lag"));
  const [only] = operands;
  if (only !== undefined) await topicThere(call, only);
  do {
    const wanted = only === undefined ? await tools.topics() : [wireName(names, only)];
    const found = [];
    for (const topic of wanted) for (const group of await tools.groups(topic)) found.push({ topic, ...group });
    const shown = found.filter(({ group }) => flag("group") === undefined || group === flag("group"));
    if (given("json")) say(JSON.stringify(shown));
    else if (shown.length === 0) remark("No group has read any of these topics.");
    else {
      const rows = shown.map(({ topic, group, consumers, lag: { messages, oldestAgeMs, lost } }) => [
        ...[group, topic, showCount(messages), `${(oldestAgeMs / 1_000).toFixed(1)}`, showCount(lost)],
        consumers.join(", ") || "nobody",
      ]);
      say(table([["GROUP", "TOPIC", "MESSAGES", "SECONDS", "LOST", "CONSUMERS"], ...rows]));
    }
    if (!given("watch")) return;
    await context.clock.sleep(WATCH_MS, signal).catch(() => {});
    if (!given("json")) say("");
  } while (!signal.aborted);
}
