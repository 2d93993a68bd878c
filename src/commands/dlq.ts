/** `vigilane dlq …`: dead letters, looked at, retried and purged. */
import { loadSettings } from "../config.ts";
import { VigilaneError } from "../errors.ts";
import { wireName } from "../topic-names.ts";
import { type DeadLetter, purgeLetters, readDeadLetters, retryLetters, tidy } from "../topics/dead-letters.ts";
import { deadLetterTopic, type TopicMessage } from "../topics/topic-log.ts";
import { inOneLine, messageToJson, messageToText } from "./message-view.ts";
import { showBytes, showTime } from "./quantities.ts";
import { table } from "./table.ts";
import { remark, say, type TopicsCall, topicThere, withTopics, wrongUse } from "./topics-call.ts";
import { type DlqCommand, dlqHelp, isDlqCommand } from "./topics-help.ts";

const OWN_FLAGS: Record<string, "string" | "boolean"> = {
  ...{ code: "string", key: "string", all: "boolean", yes: "boolean", json: "boolean", whole: "boolean" },
};

const COMMANDS: Record<DlqCommand, (call: TopicsCall) => Promise<unknown>> = { list, show, retry, purge };

/** Resolves with the exit code. */
export async function dlq(argv: readonly string[]): Promise<number> {
  const [command, ...rest] = argv;
  if (!isDlqCommand(command)) {
    const unknown = command === undefined ? "" : `vigilane dlq: there is no command "${command}".\n\n`;
    process.stderr.write(`${unknown}${dlqHelp(undefined)}`);
    return 2;
  }
  return withTopics(loadSettings(rest, process.env, OWN_FLAGS), COMMANDS[command]);
}

async function list(call: TopicsCall): Promise<void> {
  const { tools, operands, given } = call;
  const [only, ...more] = operands;
  if (more.length > 0) throw wrongUse("that is too much", "dlq list [TOPIC] [--code CODE] [--key KEY] [--json]");
  const topics =
    only === undefined
      ? (await tools.topics()).filter((topic) => topic.endsWith(deadLetterTopic("")))
      : [await deadTopicOf(call, only)];
  const letters: DeadLetter[] = [];
  for (const topic of topics) letters.push(...(await lettersOf(call, topic)).filter(matching(call)));
  if (given("json")) return say(JSON.stringify(letters.map(toJson), null, 2));
  if (letters.length === 0) return remark("There are no dead letters.");
  const rows = letters.map(({ id, letter, original, from, code, reason }) => [
    ...[id, letter.topic, showTime(letter.appendedAtMs), inOneLine(original.key, 24)],
    from.position === undefined ? "-" : `${inOneLine(from.topic)} ${from.shard ?? "?"}/${from.position}`,
    ...[inOneLine(code, 40), showBytes(original.value.length), inOneLine(reason)],
  ]);
  say(table([["ID", "DEAD LETTERS OF", "SINCE", "KEY", "STOOD AT", "CODE", "SIZE", "REASON"], ...rows]));
}

async function show(call: TopicsCall): Promise<void> {
  const [topic = "", ...ids] = call.operands;
  if (ids.length === 0) throw wrongUse("a topic and ids are needed", "dlq show TOPIC ID… [--whole] [--json]");
  for (const { letter } of byId(await lettersOf(call, await deadTopicOf(call, topic)), ids)) {
    say(call.given("json") ? messageToJson(letter) : `${messageToText(letter, { whole: call.given("whole") })}\n`);
  }
}

async function retry(call: TopicsCall): Promise<number> {
  const { topic, letters } = await selected(call, "dlq retry TOPIC (ID… | --all | --code CODE | --key KEY)");
  if (letters.length === 0) {
    remark("There are no such dead letters.");
    return 0;
  }
  const parts = { log: await call.log(), tools: call.tools };
  for (const to of new Set(letters.map(({ from }) => from.topic))) await topicThere(call, to);
  const progress = (done: number) => {
    if (done < letters.length) remark(`${done} of ${letters.length} …`);
  };
  const done = await retryLetters(parts, letters, progress, call.signal);
  await tidy(parts, topic, call.context, call.signal);
  const where = [...new Set(letters.map(({ from }) => from.topic))].join(" and ");
  say(`${done} retried: published to ${where}.`);
  return exitCodeOf(done, letters);
}

async function purge(call: TopicsCall): Promise<number> {
  const { topic, letters } = await selected(call, "dlq purge TOPIC (ID… | --all | --code CODE | --key KEY) --yes");
  if (letters.length === 0) {
    remark("There are no such dead letters.");
    return 0;
  }
  if (!call.given("yes")) {
    remark(`${letters.length} dead letters of ${topic} would be gone for good. Nothing was changed: --yes does it.`);
    return 2;
  }
  const parts = { log: await call.log(), tools: call.tools };
  const done = await purgeLetters(parts, letters, call.signal);
  await tidy(parts, topic, call.context, call.signal);
  say(`${done} purged.`);
  return exitCodeOf(done, letters);
}

function exitCodeOf(done: number, letters: readonly DeadLetter[]): number {
  if (done === letters.length) return 0;
  say(`It was stopped; ${letters.length - done} are left.`);
  return 1;
}

/** By id, or by what they have in common; nothing at all is no selection. */
async function selected(call: TopicsCall, usage: string): Promise<{ topic: string; letters: DeadLetter[] }> {
  const [name, ...ids] = call.operands;
  const some = call.given("all") || call.flag("code") !== undefined || call.flag("key") !== undefined;
  if (name === undefined || ids.length > 0 === some) throw wrongUse("say which: ids, or --all, --code, --key", usage);
  const topic = await deadTopicOf(call, name);
  const letters = await lettersOf(call, topic);
  // Then they are not all.
  if (call.signal.aborted) throw new VigilaneError("STOPPED", "it was stopped before anything was changed");
  return { topic, letters: ids.length > 0 ? byId(letters, ids) : letters.filter(matching(call)) };
}

const matching =
  ({ flag }: TopicsCall) =>
  ({ code, original }: DeadLetter) =>
    (flag("code") ?? code) === code && (flag("key") ?? original.key) === original.key;

function byId(letters: readonly DeadLetter[], ids: readonly string[]): DeadLetter[] {
  const found = ids.map((id) => letters.find((letter) => letter.id === id));
  const missing = ids.filter((_, i) => found[i] === undefined);
  if (missing.length > 0) {
    throw new VigilaneError("SETTINGS_INVALID", `there is no dead letter ${missing.join(", ")}`, {
      remedy: "`vigilane dlq list` shows them with their ids.",
    });
  }
  return [...new Set(found.filter((letter) => letter !== undefined))];
}

const lettersOf = async (call: TopicsCall, topic: string) =>
  readDeadLetters({ log: await call.log(), tools: call.tools }, topic, call.context, call.signal);

/** The dead-letter topic's name on the wire, of the topic's name or its own. */
function deadTopicOf(call: TopicsCall, name: string): Promise<string> {
  const wire = wireName(call.names, name);
  return topicThere(call, wire.endsWith(deadLetterTopic("")) ? wire : deadLetterTopic(wire));
}

function toJson({ id, letter, original, from, code, reason }: DeadLetter): object {
  const message: TopicMessage = { ...letter, ...original, headers: original.headers ?? {} };
  const {
    topic: _,
    shard: __,
    position: ___,
    ...shown
  } = JSON.parse(messageToJson(message)) as Record<string, unknown>;
  return { id, topic: letter.topic, stoodAt: from, code, reason, ...shown };
}
