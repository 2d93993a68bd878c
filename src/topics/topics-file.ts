/** The topics' file (redpanda/topics.yaml): how each topic is to be kept. */
import { z } from "zod";
import { VigilaneError } from "../errors.ts";
import { type TopicNames, wireName } from "../topic-names.ts";
import { readYamlFile } from "../yaml-file.ts";
import { deadLetterTopic, TOPICS } from "./topic-log.ts";
import type { TopicWish } from "./topic-tools.ts";

const HOUR_MS = 3_600_000;
const UNITS: Record<string, number> = { "": 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** 268435456, or "256 MiB". */
const bytes = z.preprocess((v) => {
  const [, number, unit = ""] = (typeof v === "string" && /^(\d+(?:\.\d+)?) ?(KiB|MiB|GiB)?$/.exec(v)) || [];
  return number === undefined ? v : Math.round(Number(number) * (UNITS[unit] ?? 1));
}, z.number("has to be a number of bytes, such as 256 MiB").int().min(1));

const Kept = z.strictObject({
  partitions: z.number().int().min(1).max(10_000).optional(),
  /** Copies of each partition; as many as there are brokers where there are fewer. */
  replicas: z.number().int().min(1).max(10).optional(),
  retentionHours: z.number().min(0.01).max(87_600).optional(),
  /** Over all partitions of the topic. */
  maxBytes: bytes.optional(),
  maxMessageBytes: bytes.optional(),
  /** Further settings of the topic, by Kafka's names. */
  kafka: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]).transform(String)).optional(),
});
type Kept = z.infer<typeof Kept>;

const TopicsFile = z.strictObject({
  defaults: Kept.default({}),
  deadLetters: Kept.default({}),
  topics: z.partialRecord(
    z.enum(TOPICS),
    Kept.nullable().transform((kept) => kept ?? {}),
  ),
});

/** What neither the file's topic nor its defaults say. */
const STANDARD = { partitions: 16, replicas: 3, retentionHours: 1, maxBytes: 2 ** 28, maxMessageBytes: 2 ** 20 };
const STANDARD_DEAD_LETTERS = { partitions: 1, retentionHours: 168, maxMessageBytes: 2 ** 22 };

/** Each topic and its dead letters, by their names on the wire. Every fault is named with its line and column. */
export function readTopicsFile(path: string, names: TopicNames): TopicWish[] {
  const { value, faults } = readYamlFile(path, TopicsFile);
  if (value === null) {
    throw new VigilaneError("SETTINGS_INVALID", `the topics' file is wrong:\n  - ${faults.join("\n  - ")}`);
  }
  const { defaults, deadLetters, topics } = value;
  return Object.entries(topics).flatMap(([name, kept]) => {
    const topic = wireName(names, name);
    return [
      wishOf(topic, [STANDARD, defaults, kept ?? {}]),
      wishOf(deadLetterTopic(topic), [STANDARD, defaults, STANDARD_DEAD_LETTERS, deadLetters]),
    ];
  });
}

/** What is said later goes before what was said earlier. */
function wishOf(topic: string, said: readonly [typeof STANDARD, ...Kept[]]): TopicWish {
  const kept = Object.assign({}, ...said) as typeof STANDARD;
  return {
    ...{ topic, shards: kept.partitions, copies: kept.replicas, retentionMs: kept.retentionHours * HOUR_MS },
    ...{ maxBytes: kept.maxBytes, maxMessageBytes: kept.maxMessageBytes },
    kafka: Object.assign({}, ...said.map((each) => ("kafka" in each ? each.kafka : {}))),
  };
}
