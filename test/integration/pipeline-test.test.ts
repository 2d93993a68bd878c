/** `vigilane pipeline-test` as a process, against a running vigilane: on Redis Streams, on Kafka, and where the worker is absent. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PipelineVerdict } from "../../src/commands/pipeline-verdict.ts";
import { systemClock } from "../../src/context.ts";
import { ensureCropSet } from "../../src/simulator/crop-set.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { readRunFile } from "../../src/supervisor/run-file.ts";
import { folder, vigilane } from "../support/command.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { startWorld, type World } from "../support/world.ts";

/** A cache that has its crops already: cutting them from footage takes 20 s. */
const cache = mkdtempSync(join(tmpdir(), "vigilane-pipeline-test-"));
afterAll(() => rmSync(cache, { recursive: true, force: true }));
beforeAll(async () => {
  const jpeg = await sharp({ create: { width: 96, height: 64, channels: 3, background: "#675" } })
    .jpeg()
    .toBuffer();
  const one = { class: "person", confidence: 0.8, bbox: [10, 10, 30, 60] as [number, number, number, number] };
  const other = { class: "car", confidence: 0.9, bbox: [40, 10, 90, 60] as [number, number, number, number] };
  const crop = {
    ...{ jpeg, objects: [one, other], bbox: [10, 10, 90, 60] as [number, number, number, number], features: null },
    ...{ classes: ["car", "person"], imageWidth: 768, imageHeight: 576 },
  };
  await ensureCropSet(cache, async () => [crop], { clock: systemClock, log: pino({ level: "silent" }) });
});

/** The settings of the machine that runs the tests are none of the command's. */
const NO_ENV = { VIGILANE_CACHE: cache, REDIS_URL: "", KAFKA_BROKERS: "" };
const run = (args: string[], env: NodeJS.ProcessEnv = {}) =>
  vigilane(["pipeline-test", ...args], { ...NO_ENV, ...env });

async function verdictOf(args: string[], env: NodeJS.ProcessEnv = {}) {
  const report = join(folder(), "verdict.json");
  const { ended, lines } = run([...args, "--report", report], env);
  const code = await ended;
  expect([0, 1], lines.join("\n")).toContain(code);
  return { code, said: lines.join("\n"), verdict: PipelineVerdict.parse(JSON.parse(readFileSync(report, "utf8"))) };
}

describe("on Redis Streams", () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ roles: "bridge,worker" });
  });
  afterAll(() => world.stop());

  test("e2e: each group comes back once, judged; consumer sees the same meanwhile", async () => {
    const watching = ["--mode", "consumer", "--duration", "600", "--json", "--log-level", "debug"];
    const consumer = run([...watching, "--redis-url", world.store.url]);
    await consumer.said(/connected/);
    const { code, said, verdict } = await verdictOf(["--data", world.data, "--count", "6", "--duration", "2"]);
    expect(code, said).toBe(0);
    expect(said).toMatch(/^Passed\.$/m);
    const { sent, received, missing, duplicates, outcomes, latencyMs, system, cameras } = verdict;
    expect({ sent, received, missing, duplicates, cameras }).toEqual({
      ...{ sent: 6, received: 6, missing: 0, duplicates: 0, cameras: 4 },
    });
    expect(outcomes.assessed).toBe(6);
    expect(system).toMatchObject({ topics: "redis", at: `127.0.0.1:${world.store.port}`, simulated: true });
    for (const { p50, p95 } of [latencyMs.accepted, latencyMs.roundTrip, latencyMs.llm]) {
      expect(p50).toBeGreaterThan(0);
      expect(p95).toBeGreaterThanOrEqual(p50 ?? Number.POSITIVE_INFINITY);
    }
    expect(latencyMs.roundTrip.p50).toBeGreaterThan(latencyMs.llm.p50 ?? Number.POSITIVE_INFINITY);
    // Ctrl-C ends the other one in order.
    await consumer.said(/received=6/);
    consumer.child.kill("SIGINT");
    expect(await consumer.ended).toBe(0);
    const json = consumer.lines.slice(consumer.lines.indexOf("{"), consumer.lines.indexOf("}") + 1).join("\n");
    const seen = PipelineVerdict.parse(JSON.parse(json));
    expect(seen).toMatchObject({ mode: "consumer", interrupted: true, passed: true });
    expect(seen.outcomes).toEqual(outcomes);
    expect(seen.latencyMs.sinceCapture.p50).toBeGreaterThan(0);
  });

  test("producer: only sends, from a machine that shares nothing but the store, and its crops are judged", async () => {
    const before = world.results().length;
    const { code, said, verdict } = await verdictOf(["--mode", "producer", "--count", "3", "--duration", "1"], {
      REDIS_URL: world.store.url,
      VIGILANE_DATA: join(cache, "elsewhere"),
    });
    expect(code, said).toBe(0);
    expect(verdict).toMatchObject({ mode: "producer", sent: 3, received: 0, refused: 0, unacknowledged: 0 });
    expect(said).not.toContain("missing");
    while (world.results().length < before + 3) await world.nextResult();
    const newest = world.results().slice(before);
    expect(newest.map(({ outcome }) => outcome)).toEqual(["assessed", "assessed", "assessed"]);
    expect(newest.every(({ cameraId }) => /^pipeline-test-00\d$/.test(String(cameraId)))).toBe(true);
  });

  test("Ctrl-C ends it in mid-sending: with figures, and failed, since not all was sent", async () => {
    const { child, lines, said, ended } = run(["--data", world.data, "--count", "100", "--duration", "600"]);
    await said(/sends 100 synthetic detections/);
    await world.nextResult();
    child.kill("SIGINT");
    expect(await ended, lines.join("\n")).toBe(1);
    expect(lines.at(-1)).toMatch(/^Failed: .*interrupted: \d\d of 100 detections were not sent/);
  });
});

test("where no worker is, nothing comes back: it fails and says so, and so does consumer", async () => {
  const world = await startWorld({ roles: "bridge" });
  try {
    const consumer = run(["--data", world.data, "--mode", "consumer", "--duration", "1"]);
    const args = ["--data", world.data, "--count", "2", "--duration", "1", "--timeout", "2"];
    const { code, said, verdict } = await verdictOf(args);
    expect(code).toBe(1);
    expect(verdict).toMatchObject({ sent: 2, received: 0, missing: 2, passed: false });
    expect(verdict.someMissing).toHaveLength(2);
    expect(said).toMatch(/^Failed: no worker is there; 2 of 2 results are missing\.$/m);
    expect(await consumer.ended).toBe(1);
    expect(consumer.lines.at(-1)).toBe("Failed: no worker is there; no result came.");
  } finally {
    await world.stop();
  }
});

describe.skipIf(!brokerThere)("on Kafka", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await someKafka();
  }, 120_000);
  afterAll(() => kafka.stop());

  test("e2e finds the brokers of what runs on the data folder", { timeout: 120_000 }, async () => {
    const world = await startWorld({ roles: "bridge,worker", env: { KAFKA_BROKERS: kafka.brokers.join(",") } });
    try {
      expect(readRunFile(world.data)?.kafkaBrokers).toEqual(kafka.brokers);
      const { code, said, verdict } = await verdictOf(["--data", world.data, "--count", "4", "--duration", "1"]);
      expect(code, said).toBe(0);
      expect(verdict).toMatchObject({ sent: 4, received: 4, missing: 0, duplicates: 0, passed: true });
      expect(verdict.system).toMatchObject({ topics: "kafka", at: kafka.brokers.join(",") });
    } finally {
      await world.stop();
    }
  });
});

test("a store and a broker that are away are said within the time-out, with exit code 1", async () => {
  const args = ["--mode", "consumer", "--timeout", "1", "--data", folder()];
  const store = run(args, { REDIS_URL: "redis://:hidden-word@127.0.0.1:1" });
  const broker = run(args, { KAFKA_BROKERS: "127.0.0.1:1" });
  expect([await store.ended, await broker.ended]).toEqual([1, 1]);
  expect(store.lines.at(-1)).toMatch(/no store answers at 127\.0\.0\.1:1 within 1 s \(STORE_AWAY\)/);
  expect(broker.lines.at(-1)).toMatch(/no broker answers at 127\.0\.0\.1:1 within 1 s \(BROKER_AWAY\)/);
  expect(store.lines.join("\n")).not.toContain("hidden-word");
});

test("bad flags, all of them at once, and a data folder on which nothing runs, are exit code 2", async () => {
  const flags = run(["e2e", "--mode", "both", "--count", "0", "--duration", "soon", "--data", folder()]);
  const nothing = run(["--data", folder()]);
  expect([await flags.ended, await nothing.ended]).toEqual([2, 2]);
  expect(flags.lines.join("\n")).toMatch(/"e2e" is no flag.*--mode = "both".*--duration = "soon".*--count = "0"/s);
  expect(nothing.lines.join("\n")).toMatch(/no vigilane runs on the data folder/);
});
