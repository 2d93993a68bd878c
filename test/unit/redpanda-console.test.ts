/** redpanda/console.yaml has only keys that Redpanda Console knows (it refuses others), and decodes every message of ours. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { TOPICS } from "../../src/topics/topic-log.ts";

const text = readFileSync(new URL("../../redpanda/console.yaml", import.meta.url), "utf8");

/** What of the sample configuration of v3 we use: redpanda-data/docs, modules/shared/attachments/redpanda-console-config.yaml. */
const Console = z.strictObject({
  kafka: z.strictObject({ brokers: z.array(z.string().regex(/^[\w.-]+:\d+$/)).min(1), clientId: z.string() }),
  serde: z.strictObject({ maxDeserializationPayloadSize: z.number().int() }),
  schemaRegistry: z.strictObject({ enabled: z.boolean() }),
  kafkaConnect: z.strictObject({ enabled: z.boolean() }),
  redpanda: z.strictObject({ adminApi: z.strictObject({ enabled: z.boolean() }) }),
  server: z.strictObject({ listenPort: z.literal(8080) }),
  logger: z.strictObject({ level: z.literal("info") }),
  analytics: z.strictObject({ enabled: z.literal(false) }),
});

/** The largest message that a topic of ours takes (kafka-topics.ts), bytes. */
const LARGEST = 1_048_576;

test("Console knows every key, and decodes messages up to the largest that our topics take", () => {
  const { serde } = Console.parse(parse(text));
  expect(serde.maxDeserializationPayloadSize).toBeGreaterThan(LARGEST);
});

test("it names each of our topics", () => {
  for (const topic of Object.values(TOPICS)) expect(text).toContain(`#   ${topic} `);
});
