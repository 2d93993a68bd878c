/** Kafka's topics as kcat reads them, so as any program on librdkafka: committed messages alone. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { AssessmentResult } from "../../src/messages.ts";

export interface ReadMessage {
  partition: number;
  /** When the log took it, ms since the epoch. */
  appendedAtMs: number;
  /** Of one line. */
  value: string;
}

/** All of the topic, to the end of each partition. */
export async function readByLibrdkafka(brokers: readonly string[], topic: string): Promise<ReadMessage[]> {
  const args = ["-b", brokers.join(","), "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p %T %s\\n"];
  const { stdout } = await promisify(execFile)("kcat", args, { maxBuffer: 2 ** 28 });
  return stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => {
      const [, partition, appendedAtMs, value = ""] = /^(\d+) (\d+) (.*)$/.exec(line) ?? [];
      return { partition: Number(partition), appendedAtMs: Number(appendedAtMs), value };
    });
}

/** The results of a topic of results. */
export async function resultsByLibrdkafka(brokers: readonly string[], topic: string): Promise<AssessmentResult[]> {
  const messages = await readByLibrdkafka(brokers, topic);
  return messages.map(({ value }) => AssessmentResult.parse(JSON.parse(value)));
}
