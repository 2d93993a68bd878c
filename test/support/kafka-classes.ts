/**
 * What a JVM makes of Kafka's classes when it starts (loaded, checked, laid out), kept in a file and mapped by every later
 * broker of the tests: its start costs half as much then. Java's class data sharing; a file of another Java is passed over by it.
 */
import { existsSync, mkdirSync, realpathSync, renameSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { pino } from "pino";
import { systemClock } from "../../src/context.ts";
import { findJava, type LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";

const FILE = join(import.meta.dirname, "..", "..", "node_modules", ".cache", "kafka-classes.jsa");
const given = process.env.JDK_JAVA_OPTIONS ?? "";

/** From here on, brokers that this process or its children start take what is kept. Where nothing is, they start without. */
export function takeKeptClasses(): void {
  if (existsSync(FILE)) process.env.JDK_JAVA_OPTIONS = `${given} "-XX:SharedArchiveFile=${FILE}"`;
}

/** Keeps them and uses them, unless that was done since Java was installed: by a broker that does a little of everything. */
export async function keepClasses(start: () => Promise<LocalKafka>): Promise<void> {
  if (existsSync(FILE) && statSync(FILE).mtimeMs > statSync(realpathSync(findJava())).ctimeMs) return;
  mkdirSync(dirname(FILE), { recursive: true });
  const part = `${FILE}.${process.pid}`;
  process.env.JDK_JAVA_OPTIONS = `${given} "-XX:ArchiveClassesAtExit=${part}"`;
  const kafka = await start();
  const settings = { brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 20, shards: 1 };
  const log = createKafkaTopicLog(settings, { clock: systemClock, log: pino({ level: "silent" }) });
  await log.start();
  await log.ensureTopic("t");
  await log.publish("t", [{ key: "k", value: Buffer.from("v") }]);
  const subscription = log.subscribe("t", { group: "g", consumer: "c" });
  for await (const batch of subscription.batches()) {
    await batch.acknowledge();
    break;
  }
  await subscription.close();
  await log.stop();
  await kafka.nodes[0]?.kill("SIGTERM");
  await kafka.stop();
  process.env.JDK_JAVA_OPTIONS = given;
  if (existsSync(part)) renameSync(part, FILE); // whole, or not there
  takeKeptClasses();
}
