/** One call of `vigilane topics …` or `vigilane dlq …`: what every command of them is handed. */
import type { LoadedSettings } from "../config.ts";
import { type Context, createLogger, systemClock } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { Acquired } from "../lifecycle.ts";
import type { Settings } from "../settings.ts";
import { onStopSignals } from "../supervisor/stop-signals.ts";
import { prettyLine } from "../supervisor/terminal.ts";
import { type TopicNames, wireName } from "../topic-names.ts";
import { openTopicLog, openTopicTools } from "../topics/open-topic-log.ts";
import type { TopicLog } from "../topics/topic-log.ts";
import type { TopicTools } from "../topics/topic-tools.ts";
import { givingUp } from "./giving-up.ts";
import { runningSystem } from "./running-system.ts";

export interface TopicsCall {
  settings: Settings;
  /** What stands behind the command. */
  operands: string[];
  /** A flag's text. */
  flag(name: string): string | undefined;
  /** A flag without a value was given. */
  given(name: string): boolean;
  names: TopicNames;
  tools: TopicTools;
  /** Opened where it is needed. It waits for nobody as long as a role does (giving-up.ts). */
  log(): Promise<TopicLog>;
  context: Context;
  /** Ctrl-C, or SIGTERM. */
  signal: AbortSignal;
}

/** Opens what the command needs, runs it, and lets go of all of it. Resolves with the exit code; nothing is 0. */
export async function withTopics(
  { settings: given, operands, own }: LoadedSettings,
  command: (call: TopicsCall) => Promise<unknown>,
): Promise<number> {
  const settings = whereTopicsAre(given);
  const output = { write: (line: string) => void process.stderr.write(`${prettyLine(line.trimEnd(), "topics")}\n`) };
  const log = createLogger("topics", settings.logLevel === "info" ? "warn" : settings.logLevel, output);
  const context: Context = { clock: systemClock, log };
  const stop = new AbortController();
  const offSignals = onStopSignals(
    () => stop.abort(),
    () => process.exit(130),
  );
  process.stdout.on("error", () => stop.abort()); // whoever read us has left (`| head`)
  const acquired = new Acquired();
  const { redisUrl = "" } = settings;
  const inStore = settings.kafkaBrokers.length === 0;
  const openLog = () => openTopicLog(settings, redisUrl, context, { visits: true });
  let opened: Promise<TopicLog> | undefined;
  try {
    const tools = await acquired.start(openTopicTools(settings, redisUrl, context));
    const code = await command({
      ...{ settings, operands, tools, context, signal: stop.signal, names: settings },
      flag: (name) => (typeof own[name] === "string" ? own[name] : undefined),
      given: (name) => own[name] === true,
      log: () => (opened ??= acquired.start(givingUp(openLog(), { inStore, signal: stop.signal }, context))),
    });
    return typeof code === "number" ? code : 0;
  } catch (error) {
    throw toCommand(error);
  } finally {
    await acquired.unwind(context);
    offSignals();
  }
}

/** Who is away to a running role comes back to it by itself; a command has ended. */
function toCommand(error: unknown): unknown {
  if (!(error instanceof VigilaneError) || (error.code !== "BROKER_AWAY" && error.code !== "STORE_AWAY")) return error;
  const what = error.code === "BROKER_AWAY" ? "the Kafka broker again, or correct KAFKA_BROKERS" : "Redis again";
  return new VigilaneError(error.code, error.message, { cause: error, remedy: `Start ${what}; then run this again.` });
}

/** The settings with the store that the topics are in: REDIS_URL, else what runs on the data folder. With brokers none is needed. */
function whereTopicsAre(settings: Settings): Settings {
  if (settings.kafkaBrokers.length > 0 || settings.redisUrl !== undefined) return settings;
  const running = runningSystem(settings);
  if (running) return running.settings;
  throw new VigilaneError(
    "SETTINGS_INVALID",
    `there are neither KAFKA_BROKERS nor a REDIS_URL, and no vigilane runs on the data folder ${settings.data}`,
    { remedy: "Say where the topics are: KAFKA_BROKERS, REDIS_URL, or --data of the one that runs." },
  );
}

/** The name on the wire of a topic that is there. */
export async function topicThere({ names, tools }: TopicsCall, topic: string): Promise<string> {
  const wire = wireName(names, topic);
  if ((await tools.describe(wire)) !== null) return wire;
  const there = (await tools.topics()).join(", ");
  throw new VigilaneError("TOPIC_UNKNOWN", `there is no topic ${wire}; there are: ${there || "none"}`);
}

export function needOperands({ operands }: TopicsCall, count: number, usage: string): string[] {
  if (operands.length === count) return operands;
  throw wrongUse(`${operands.length < count ? "something is missing" : "that is too much"}`, usage);
}

export const wrongUse = (what: string, usage: string) =>
  new VigilaneError("SETTINGS_INVALID", what, { remedy: `Usage: vigilane ${usage}` });

/** A flag's whole number of at least 1. */
export function countOf({ flag }: TopicsCall, name: string): number | undefined {
  const text = flag(name);
  if (text === undefined) return undefined;
  if (/^[1-9]\d*$/.test(text)) return Number(text);
  throw new VigilaneError("SETTINGS_INVALID", `flag --${name}: must be a whole number of at least 1`);
}

export const say = (text: string) => void process.stdout.write(`${text}\n`);
/** Progress and warnings: standard output is for what was asked. */
export const remark = (text: string) => void process.stderr.write(`${text}\n`);
