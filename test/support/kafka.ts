/**
 * A real Kafka broker for tests (or three): Apache Kafka's own jars, downloaded once into the cache, in a temporary folder
 * and on free ports. It needs Java; where there is none, `javaThere` is false and the tests that need a broker are skipped.
 * Tests that only publish and read take the brokers of KAFKA_BROKERS instead, where that is set (a Redpanda, say).
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { pino } from "pino";
import { ensureKafkaJars } from "../../src/assets/kafka-jars.ts";
import { systemClock } from "../../src/context.ts";
import { defaultCacheFolder } from "../../src/settings.ts";
import { findJava, type LocalKafka, startLocalKafka } from "../../src/supervisor/local-kafka.ts";
import { takeKeptClasses } from "./kafka-classes.ts";

takeKeptClasses();

export const javaThere = (() => {
  try {
    return findJava() !== "";
  } catch {
    return false;
  }
})();

/** A broker to publish to and read from: that of KAFKA_BROKERS, or one of our own. */
export const brokerThere = javaThere || Boolean(process.env.KAFKA_BROKERS);

/**
 * As startKafka, but for tests that kill nothing: with KAFKA_BROKERS, or the broker that a run of all tests shares
 * (shared-kafka.ts), it has no nodes, and nothing is started.
 */
export async function someKafka(): Promise<LocalKafka> {
  const given = process.env.KAFKA_BROKERS?.split(",").filter(Boolean) ?? (await shared());
  return given.length > 0 ? { brokers: given, nodes: [], stop: async () => {} } : startKafka();
}

const SHARED_WITHIN_MS = 60_000;

async function shared(): Promise<string[]> {
  const file = process.env.VIGILANE_TEST_KAFKA;
  if (!file) return [];
  for (const until = performance.now() + SHARED_WITHIN_MS; performance.now() < until; await wait(100)) {
    if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as string[];
  }
  return []; // it could not be started: one of our own says why
}

export interface TestKafkaOptions {
  nodes?: 1 | 3;
  /** Of the first node. Default: a free one. */
  port?: number;
  /** Lines for server.properties. */
  extra?: readonly string[];
  format?: readonly string[];
}

/** Resolves when it accepts connections; the caller stops it. It never outlives this process, however that ends. */
export async function startKafka(options: TestKafkaOptions = {}): Promise<LocalKafka> {
  const context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };
  const jars = await ensureKafkaJars(process.env.VIGILANE_CACHE ?? defaultCacheFolder(), context);
  const data = mkdtempSync(join(tmpdir(), "vigilane-kafka-"));
  let kafka: LocalKafka;
  for (let tries = 1; ; tries += 1) {
    try {
      kafka = await startLocalKafka({ nodes: 1, ...options, jars, data }, context);
      break;
    } catch (error) {
      rmSync(data, { recursive: true, force: true }); // with it the choice of ports
      // Else: somebody took the probed port before Java was there.
      if (options.port !== undefined || tries === 3 || !/already in use/i.test(String(error))) throw error;
    }
  }
  return {
    ...kafka,
    async stop() {
      await Promise.all(kafka.nodes.map((node) => node.kill("SIGKILL")));
      await kafka.stop();
      rmSync(data, { recursive: true, force: true });
    },
  };
}
