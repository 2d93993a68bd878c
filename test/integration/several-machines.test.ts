/**
 * The roles as on several machines: each a process of its own with a data folder of its own, so that all they share is the
 * Redis, the Kafka broker and the S3 server. The broker is the test's own: roles have one name for a topic, and would take
 * what another test has there.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import sharp from "sharp";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { type Context, systemClock } from "../../src/context.ts";
import type { RoleHealth } from "../../src/events.ts";
import { createS3ImageStore } from "../../src/images/s3-image-store.ts";
import { AssessmentResult } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { Settings } from "../../src/settings.ts";
import { createCameraLoad } from "../../src/simulator/camera-load.ts";
import { SimulatorConfig } from "../../src/simulator/simulator-config.ts";
import { startVisionProvider } from "../../src/simulator/vision-provider.ts";
import { connectStore } from "../../src/store.ts";
import { openTopicLog } from "../../src/topics/open-topic-log.ts";
import { TOPICS, type TopicLog } from "../../src/topics/topic-log.ts";
import { javaThere, someKafka } from "../support/kafka.ts";
import { freePort, startRedis } from "../support/redis.ts";
import { s3There, startS3 } from "../support/s3.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const SECRET = "sk-of-the-one-group";
const quiet: Context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };
const CAMERAS = 24;
const GROUPS_A_SECOND = 24;
const SECONDS = 3;

const MACHINES = ["results-1", "gateway-1", "gateway-2", "bridge-1", "bridge-2", "worker-1", "worker-2"];

test.skipIf(!javaThere || !s3There)(
  "two bridges, two workers of one key group and two gateways judge every group once, and both gateways show it",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "vigilane-machines-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const [store, kafka, s3] = await Promise.all([startRedis(), someKafka(), startS3()]);
    onTestFinished(() => kafka.stop());
    onTestFinished(() => s3.stop());
    const accounts = [{ id: "one", keys: [SECRET] }];
    const config = SimulatorConfig.parse({ latency: { meanMs: 200, p95Ms: 300 }, accounts });
    const provider = await startVisionProvider({ config }, quiet);
    onTestFinished(() => provider.stop());
    const keys = join(folder, "keys.yaml");
    const group = `{ id: one, provider: simulated, windows: { requestsPerSecond: 60 }, keys: [{ id: k, secret: ${SECRET} }] }`;
    writeFileSync(keys, `keyGroups:\n  - ${group}\n`);
    const place = s3.bucket();
    // The broker may be others' too.
    const names = { detectionsTopic: `detections-${process.pid}`, resultsTopic: `results-${process.pid}` };
    const shared = {
      REDIS_URL: store.url,
      KAFKA_BROKERS: kafka.brokers.join(","),
      VIGILANE_DETECTIONS_TOPIC: names.detectionsTopic,
      VIGILANE_RESULTS_TOPIC: names.resultsTopic,
      ...s3.environmentOf(place),
      VIGILANE_SIMULATOR_URL: new URL("/", provider.url).href,
      VIGILANE_KEYS: keys,
      VIGILANE_FRESHNESS_SECONDS: "0",
      VIGILANE_LOG_LEVEL: "trace",
    };

    const machines = await Promise.all(MACHINES.map((machine) => startMachine(machine, folder, shared)));
    const gateways = machines.flatMap(({ role, url }) => (role === "gateway" ? [url] : []));

    // The eighth machine: where the load is.
    const settings = { ...Settings.parse({}), ...names, kafkaBrokers: [...kafka.brokers] };
    const topics = openTopicLog(settings, store.url, quiet);
    const images = createS3ImageStore(place, quiet);
    for (const one of [topics, images]) {
      onTestFinished(() => one.stop());
      await one.start();
    }
    const ids: string[] = [];
    const load = createCameraLoad(
      {
        cameras: CAMERAS,
        rate: GROUPS_A_SECOND / CAMERAS,
        seconds: SECONDS,
        arrivals: "constant",
        crops: [await aCrop()],
        topics,
        images,
        onPublished: ({ taskId }) => ids.push(taskId),
      },
      quiet,
    );
    const ledger = readResults(topics);
    expect(await load.run(new AbortController().signal)).toMatchObject({
      failed: 0,
      published: GROUPS_A_SECOND * SECONDS,
    });
    const results = await ledger.whenAllOf(ids);

    // Once each: published, called and shown.
    expect(results.map(({ taskId }) => taskId).sort()).toEqual([...ids].sort());
    expect(results.filter(({ outcome }) => outcome !== "assessed")).toEqual([]);
    const [account] = provider.stats().accounts;
    expect(account).toMatchObject({ id: "one", calls: ids.length });
    for (const url of gateways) {
      const shown = await outcomesAt(url, ids);
      expect(shown.map(({ result }) => result.taskId).sort()).toEqual([...ids].sort());
      const crops = await Promise.all(shown.map(({ imagePath }) => fetch(new URL(imagePath, url))));
      for (const crop of crops) {
        expect([crop.status, crop.headers.get("content-type")]).toEqual([200, "image/jpeg"]);
        expect((await crop.bytes()).subarray(0, 2)).toEqual(Uint8Array.of(0xff, 0xd8));
      }
    }

    // Both of each had a part in it, and none has kept a crop for itself.
    const redis = await connectStore(store.url, quiet);
    onTestFinished(() => redis.disconnect());
    const workers = await Promise.all(ids.map((id) => redis.hget(`{vl}:task:${id}`, "w")));
    expect([...new Set(workers.map((worker) => worker?.split(":")[0]))].sort()).toEqual(["worker-1", "worker-2"]);
    await expect
      .poll(async () => {
        const healths = Object.values(await redis.hgetall(KEYS.roles)).map((text) => JSON.parse(text) as RoleHealth);
        const bridges = healths.filter(({ role }) => role === "bridge");
        return bridges.map(({ detail }) => Number(/^(\d+) groups admitted/.exec(detail)?.[1]) > 0);
      })
      .toEqual([true, true]);
    for (const { child } of machines) child.kill("SIGTERM");
    expect(await Promise.all(machines.map(({ gone }) => gone))).toEqual(machines.map(() => 0));
    for (const { data, said } of machines) {
      expect(readdirSync(data)).not.toContain("images");
      expect(said()).toContain("ready");
      expect([said(), ...filesIn(data)].filter((text) => text.includes(s3.key.secret))).toEqual([]);
    }
  },
  120_000,
);

interface Machine {
  role: string;
  child: ChildProcess;
  data: string;
  url: string;
  said: () => string;
  /** Its exit code. */
  gone: Promise<number | null>;
}

async function startMachine(instance: string, folder: string, shared: Record<string, string>): Promise<Machine> {
  const role = instance.replace(/-\d$/, "");
  const data = join(folder, instance);
  mkdirSync(data);
  const port = await freePort();
  const env = {
    ...shared,
    PATH: process.env.PATH,
    HOME: data,
    VIGILANE_INSTANCE: instance,
    NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
  };
  const child = spawn(process.execPath, [MAIN, role, "--data", data, "--port", String(port)], {
    cwd: data,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const gone = once(child, "exit").then(([code]) => code as number | null);
  let said = "";
  child.stderr?.on("data", (text: Buffer) => (said += text.toString()));
  await new Promise<void>((resolve, reject) => {
    gone.then((code) => reject(new Error(`${instance} ended (${code}): ${said}`)), reject);
    child.stdout?.on("data", (text: Buffer) => {
      said += text.toString();
      if (said.includes('"msg":"ready"')) resolve();
    });
  });
  return { role, child, data, url: `http://127.0.0.1:${port}`, said: () => said, gone };
}

const filesIn = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((file) => readFileSync(join(file.parentPath, file.name), "utf8"));

async function aCrop() {
  const jpeg = await sharp({ create: { width: 64, height: 48, channels: 3, background: "#567" } })
    .jpeg()
    .toBuffer();
  const bbox: [number, number, number, number] = [10, 10, 90, 60];
  const objects = [{ class: "car", confidence: 0.9, bbox }];
  return { jpeg, objects, bbox, classes: ["car"], features: null, imageWidth: 640, imageHeight: 360 };
}

/** Every result of the topic from its beginning. */
function readResults(topics: TopicLog) {
  const stopping = new AbortController();
  const results: AssessmentResult[] = [];
  let look = () => {};
  const reading = (async () => {
    for await (const message of topics.tail(TOPICS.results, "earliest", stopping.signal)) {
      results.push(AssessmentResult.parse(JSON.parse(message.value.toString())));
      look();
    }
  })();
  reading.catch(() => {});
  onTestFinished(async () => {
    stopping.abort();
    await reading.catch(() => {});
  });
  return {
    whenAllOf: (ids: readonly string[]) =>
      new Promise<readonly AssessmentResult[]>((resolve, reject) => {
        reading.catch(reject);
        look = () => {
          const there = new Set(results.map(({ taskId }) => taskId));
          if (ids.every((id) => there.has(id))) resolve(results);
        };
        look();
      }),
  };
}

const Outcomes = z.object({
  outcomes: z.array(z.object({ result: z.object({ taskId: z.string() }), imagePath: z.string() })),
});

/** When all of them are there. */
async function outcomesAt(url: string, ids: readonly string[]) {
  const ask = async () => Outcomes.parse(await (await fetch(`${url}/api/outcomes?limit=1000`)).json()).outcomes;
  await expect.poll(async () => (await ask()).length, { timeout: 30_000 }).toBeGreaterThanOrEqual(ids.length);
  return await ask();
}
