/**
 * The broker away, a real one that is stopped or killed and comes back: cameras are looked at as before and the newest detections are
 * kept, results wait in the outbox, the gateway says what is wrong, and nothing acknowledged is lost. Also one that answers and takes nothing.
 * VIGILANE_LONG=1: the detector's broker is killed too, and not only stopped.
 */
import { Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { heartbeat } from "../../src/commands/heartbeat.ts";
import { createCameraDetector } from "../../src/detector/detector.ts";
import type { Health } from "../../src/events.ts";
import { Detection } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { createGateway } from "../../src/roles/gateway.ts";
import { createResults } from "../../src/roles/results.ts";
import type { RoleService } from "../../src/roles/role-service.ts";
import { Settings } from "../../src/settings.ts";
import { connectStore } from "../../src/store.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { openTopicLog } from "../../src/topics/open-topic-log.ts";
import { type OutgoingMessage, TOPICS, type TopicLog } from "../../src/topics/topic-log.ts";
import { fakeCameras, fakePool } from "../support/fake-camera.ts";
import { connectClient } from "../support/gateway.ts";
import { javaThere, startKafka } from "../support/kafka.ts";
import { createMemoryImageStore } from "../support/memory-image-store.ts";
import { silent, startPipeline } from "../support/pipeline.ts";
import { startRedis } from "../support/redis.ts";

const LONG = process.env.VIGILANE_LONG === "1";
/** A broker's trouble is told, and its end, within 10 s; three times that on a busy machine. */
const TOLD = { timeout: 3 * 10_000, interval: 50 };
/** Work goes on within 30 s of a killed broker's return. */
const GOES_ON = { timeout: 3 * 30_000, interval: 50 };

const BOXES = [
  { class: "person", confidence: 0.9, bbox: [100, 100, 130, 180] as [number, number, number, number] },
  { class: "car", confidence: 0.8, bbox: [150, 120, 250, 180] as [number, number, number, number] },
];
const CAMERAS = ["a", "b"];
/** What a camera gives, for this test. */
const FRAME_MS = 25;

describe.skipIf(!javaThere)("a Kafka broker that is away", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    // Its own memory of its session keeps a broker that was killed from coming back: 15 s by default, here 6 s.
    kafka = await startKafka({ extra: ["broker.session.timeout.ms=2000", "broker.heartbeat.interval.ms=300"] });
  }, 120_000);
  afterAll(() => kafka.stop());

  const node = () => {
    const [only] = kafka.nodes;
    if (!only) throw new Error("there is no broker");
    return only;
  };
  let nth = 0;
  /** Topics of this test alone, on the file's broker. */
  const topicsOfItsOwn = () => {
    nth += 1;
    return {
      ...{ kafkaBrokers: kafka.brokers, detectionsTopic: `detections-${nth}`, resultsTopic: `results-${nth}` },
    };
  };

  test.each(LONG ? (["SIGSTOP", "SIGKILL"] as const) : (["SIGSTOP"] as const))(
    "the detector (%s): every frame is looked at, the newest are kept, older ones dropped and counted, none acknowledged is lost",
    { timeout: 180_000 },
    async (how) => {
      const store = await startRedis({ appendonly: false });
      const redis = await connectStore(store.url, silent, { maxRetriesPerRequest: 0, enableOfflineQueue: false });
      onTestFinished(() => redis.disconnect());
      const topics = openTopicLog(Settings.parse(topicsOfItsOwn()), store.url, silent);
      onTestFinished(() => topics.stop());
      await topics.start();
      await topics.ensureTopic(TOPICS.detections);
      const acknowledged: OutgoingMessage[] = [];
      const cameras = fakeCameras();
      const pool = fakePool(BOXES);
      const detector = createCameraDetector(
        {
          instance: "detector-1",
          cameras: CAMERAS.map((id) => ({ id, source: "-" })),
          defaultIntervalMs: FRAME_MS,
          ...{ pool, sources: cameras.sources, images: createMemoryImageStore(), redis },
          topics: {
            publishedAgain: () => 0,
            async publish(topic, messages) {
              await topics.publish(topic, messages);
              acknowledged.push(...messages);
            },
          },
        },
        silent,
      );
      onTestFinished(() => detector.stop());
      await detector.start();

      let captured = 0;
      /** So many frames of each camera, each at its time; resolves with the longest that a frame was kept from its camera. */
      const film = async (frames: number) => {
        let longestMs = 0;
        for (let i = 0; i < frames; i += 1) {
          const begunMs = silent.clock.monotonicMs();
          captured += 1;
          for (const id of CAMERAS) cameras.frame(id, captured * FRAME_MS);
          while (cameras.lent > 0) await new Promise((resolve) => setImmediate(resolve));
          const tookMs = silent.clock.monotonicMs() - begunMs;
          longestMs = Math.max(longestMs, tookMs);
          await silent.clock.sleep(FRAME_MS - tookMs); // the camera's own pace
        }
        return longestMs;
      };

      await film(10);
      await expect.poll(() => acknowledged.length, TOLD).toBe(2 * 10);
      await node().kill(how);
      onTestFinished(async () => void (await comesBack(how)));
      const longestMs = await film(60);
      expect(pool.looked).toBe(2 * 70);
      expect(longestMs).toBeLessThan(1_000); // a look here takes a millisecond or two; a send to this broker seconds
      await expect.poll(() => topics.trouble(), TOLD).toMatchObject({ code: "BROKER_AWAY" });
      await film(20);
      const away = detector.toPublish();
      expect(detector.detail()).toContain("180 frames looked at, 0 dropped,");
      expect(away?.dropped).toBeGreaterThan(0);
      expect(away?.waiting).toBeLessThanOrEqual(away?.most ?? 0);

      await comesBack(how);
      await expect.poll(() => topics.trouble(), TOLD).toBeNull();
      await expect.poll(() => detector.toPublish()?.waiting, GOES_ON).toBe(0);
      const dropped = detector.toPublish()?.dropped ?? 0;
      expect(acknowledged).toHaveLength(2 * 90 - dropped);
      const there = (await readAll(topics, TOPICS.detections)).map(({ value }) => read(value));
      const ids = new Set(there.map(({ messageId }) => messageId));
      expect(acknowledged.filter(({ value }) => !ids.has(read(value).messageId))).toEqual([]);
      expect(there).toHaveLength(ids.size);
      for (const id of CAMERAS) {
        const times = there.filter(({ cameraId }) => cameraId === id).map(({ frame }) => frame);
        expect(times).toEqual(times.toSorted((p, q) => p - q));
        // The newest ten are among them; what is missing lies between those and what was under way when it went.
        expect(times.slice(-10)).toEqual(Array.from({ length: 10 }, (_, i) => 81 + i));
        expect(times.slice(0, 10)).toEqual(Array.from({ length: 10 }, (_, i) => 1 + i));
      }
    },
  );

  const read = (value: Buffer) => {
    const { messageId = "", cameraId, capturedAt = "" } = Detection.parse(JSON.parse(value.toString()));
    return { messageId, cameraId, frame: Date.parse(capturedAt ?? "") / FRAME_MS };
  };

  async function comesBack(how: "SIGSTOP" | "SIGKILL"): Promise<void> {
    if (how === "SIGSTOP") await node().kill("SIGCONT");
    else await node().start();
  }

  test("roles, gateway and outbox: it is said what is wrong, results wait, and all of them are written on its return", {
    timeout: 240_000,
  }, async () => {
    // Slow enough that the broker is gone before the first verdict.
    const { pipeline, ours, beat, heard, get } = await wholeWith({
      simulator: { latency: { meanMs: 3_000, p95Ms: 3_500 } },
    });
    const readyz = async () => get("/readyz");
    await expect.poll(async () => (await readyz()).status, TOLD).toBe(200);
    const ids: string[] = [];
    for (let i = 0; i < 6; i += 1) ids.push(...(await pipeline.offer(5)));
    await expect.poll(() => pipeline.bridge.detail?.(), TOLD).toMatch(/^30 groups admitted/);

    const awayAtMs = silent.clock.nowMs();
    await node().kill("SIGKILL");
    onTestFinished(() => node().start());
    await expect
      .poll(() => heard.at(-1)?.topics?.noticed, TOLD)
      .toEqual([
        { role: "bridge", processes: 1, of: 1 },
        { role: "results", processes: 1, of: 1 },
      ]);
    const health = heard.at(-1);
    const problem = "Kafka cannot be reached, as bridge and results report";
    expect(health).toMatchObject({
      ...{ ok: false, store: "up", problems: [problem] },
      topics: {
        ...{ code: "BROKER_AWAY", title: "Kafka cannot be reached", problem },
        message: expect.stringContaining(node().address),
        remedy: expect.stringContaining("Start the Kafka broker again"),
      },
    });
    expect(health?.topics?.sinceMs).toBeGreaterThan(awayAtMs - 1_000);
    expect(health?.topics?.sinceMs).toBeLessThan(awayAtMs + TOLD.timeout);
    const ready = await readyz();
    expect(ready).toMatchObject({ status: 503, body: { problems: [problem], topics: { code: "BROKER_AWAY" } } });
    expect(JSON.stringify(ready.body)).not.toContain(node().address); // whoever probes is told no address
    expect((await get("/api/snapshot")).body.health).toMatchObject({ topics: { title: "Kafka cannot be reached" } });
    expect((await get("/metrics?only=system")).text).toMatch(/^vigilane_topics_up 0$/m);

    // Who starts meanwhile waits, and says for what.
    const late = createResults({ ...ours, resultsGroup: "late" }, silent);
    onTestFinished(() => late.stop());
    const started = beat("results", "results-2", late);
    await expect
      .poll(() => heard.at(-1)?.roles.find(({ instance }) => instance === "results-2"), TOLD)
      .toMatchObject({
        ...{ ready: false, detail: "its start waits for the topics", topics: { code: "BROKER_AWAY" } },
      });
    expect(heard.at(-1)?.topics?.noticed).toContainEqual({ role: "results", processes: 2, of: 2 });

    // Judging goes on, and what it comes to waits in the store: all of it, within the bound that is told.
    await expect
      .poll(() => heard.at(-1)?.resultsToPublish, GOES_ON)
      .toEqual({
        ...{ waiting: 30, most: 100, dropped: 0, paused: false },
      });
    expect(pipeline.results).toEqual([]);
    expect((await get("/metrics?only=system")).text).toMatch(/^vigilane_outbox_results 30$/m);

    await node().start();
    await started;
    await expect.poll(() => heard.at(-1), TOLD).toMatchObject({ ok: true, problems: [], topics: null });
    expect((await readyz()).status).toBe(200);
    const outcomes = await pipeline.outcomes(ids, GOES_ON.timeout);
    expect([...outcomes.values()].map((some) => some.map(({ outcome }) => outcome))).toEqual(
      ids.map(() => ["assessed"]),
    );
    await expect.poll(() => heard.at(-1)?.resultsToPublish?.waiting, TOLD).toBe(0);
  });

  test("a topic that takes nothing, of a broker that answers: it is said why, and goes with the first send that succeeds", {
    timeout: 120_000,
  }, async () => {
    const ours = topicsOfItsOwn();
    const topics = openTopicLog(Settings.parse(ours), "", silent);
    onTestFinished(() => topics.stop());
    await topics.start();
    await topics.ensureTopic(TOPICS.detections);
    const one: OutgoingMessage = { key: "a", value: Buffer.from("{}") };
    await topics.publish(TOPICS.detections, [one]);
    expect(topics.trouble()).toBeNull();

    await setOf(ours.detectionsTopic, "max.message.bytes", 256);
    const refusedAtMs = silent.clock.nowMs();
    const large: OutgoingMessage = { key: "a", value: Buffer.alloc(1_000) };
    /** Null: it was taken, and nothing is said. What is refused is given up, and another tried. */
    const published = () =>
      topics.publish(TOPICS.detections, [large]).then(
        () => topics.trouble(),
        () => topics.trouble() ?? "refused, and nothing said",
      );
    await expect.poll(published, TOLD).toMatchObject({
      code: "BROKER_REFUSED",
      message: expect.stringMatching(new RegExp(`^${ours.detectionsTopic}: the brokers answer, .*MESSAGE_TOO_LARGE`)),
      remedy: expect.stringContaining("max.message.bytes"),
    });
    expect(silent.clock.nowMs() - refusedAtMs).toBeGreaterThan(4_000); // a leader's change is not said
    expect(topics.trouble()?.sinceMs).toBeGreaterThan(refusedAtMs - 100);
    expect(topics.trouble()?.sinceMs).toBeLessThan(refusedAtMs + 3_000);
    // Another topic takes what it is sent: that changes nothing for this one.
    await topics.publish(TOPICS.results, [one]);
    expect(topics.trouble()).toMatchObject({ code: "BROKER_REFUSED" });

    await setOf(ours.detectionsTopic, "max.message.bytes", 1_048_576);
    await expect.poll(published, TOLD).toBeNull();
  });

  test("an outbox at its bound: nothing more is admitted until half of it is written, nothing is lost, and it is said what refuses", {
    timeout: 240_000,
  }, async () => {
    const { pipeline, heard, get } = await wholeWith({ settings: { maxOutbox: 10 } });
    const redis = await connectStore(pipeline.redis.url, silent);
    onTestFinished(() => redis.disconnect());
    // A broker that takes detections and no results: those are too large for it. (Not so the marks that end transactions.)
    await setOf(pipeline.settings.resultsTopic, "max.message.bytes", 256);
    const ids = await pipeline.offer(20);
    await expect.poll(() => redis.xlen(KEYS.outbox), TOLD).toBe(20);
    ids.push(...(await pipeline.offer(1))); // whoever admits it finds the outbox full
    await expect
      .poll(() => heard.at(-1), TOLD)
      .toMatchObject({
        ...{ ok: false, resultsToPublish: { most: 10, paused: true } },
        problems: expect.arrayContaining([expect.stringContaining("no new detections are admitted")]),
      });
    // The broker answers whoever asks: it is the write-back that knows.
    const problem = "Kafka refuses what is asked of it, as bridge report";
    await expect
      .poll(() => heard.at(-1), TOLD)
      .toMatchObject({
        problems: expect.arrayContaining([problem]),
        topics: {
          ...{ code: "BROKER_REFUSED", problem, noticed: [{ role: "bridge", processes: 1, of: 1 }] },
          message: expect.stringContaining(`${pipeline.settings.resultsTopic}: the brokers answer`),
          remedy: expect.stringContaining("max.message.bytes"),
        },
      });
    const probed = await get("/readyz");
    expect(probed).toMatchObject({ status: 503, body: { topics: { code: "BROKER_REFUSED" } } });
    expect(JSON.stringify(probed.body)).not.toContain("the brokers answer"); // of its words, only the first
    for (let i = 0; i < 5; i += 1) ids.push(...(await pipeline.offer(4)));
    const { bridgeGroup } = pipeline.settings;
    await expect.poll(async () => (await pipeline.topics.lag(TOPICS.detections, bridgeGroup)).messages, TOLD).toBe(5);
    await expect.poll(() => redis.xlen(KEYS.outbox), TOLD).toBe(21);
    expect(pipeline.bridge.detail?.()).toMatch(/^21 groups admitted/);

    await setOf(pipeline.settings.resultsTopic, "max.message.bytes", 1_048_576);
    const outcomes = await pipeline.outcomes(ids, GOES_ON.timeout);
    expect([...outcomes.values()].map((some) => some.map(({ outcome }) => outcome))).toEqual(
      ids.map(() => ["assessed"]),
    );
    await expect.poll(() => redis.xlen(KEYS.outbox), TOLD).toBe(0);
    await expect
      .poll(() => heard.at(-1), TOLD)
      .toMatchObject({ ok: true, topics: null, resultsToPublish: { waiting: 0, paused: false } });
  });

  /** Bridge and worker, results and gateway, with the heartbeats of each, and a client that hears the health. */
  async function wholeWith(options: { simulator?: object; settings?: Partial<Settings> }) {
    const settings = { ...topicsOfItsOwn(), freshnessSeconds: 0, maxOutbox: 100, ...options.settings };
    const pipeline = await startPipeline({ ...options, settings });
    onTestFinished(() => pipeline.stop());
    const ours: Settings = { ...pipeline.settings, port: 0, roles: ["bridge", "results", "gateway"] };
    const results = createResults(ours, silent);
    const gateway = createGateway(ours, silent);
    const stop = new AbortController();
    const beats: Promise<void>[] = [];
    onTestFinished(() => Promise.all(beats).then(() => {}));
    onTestFinished(() => stop.abort());
    const beat = (role: string, instance: string, service: RoleService) => {
      const ready = service.start();
      const whose = {
        role,
        instance,
        redisUrl: ours.redisUrl,
        service,
        startedAtMs: silent.clock.nowMs(),
      };
      beats.push(heartbeat({ ...whose, ready }, silent, stop.signal));
      return ready;
    };
    for (const service of [results, gateway]) onTestFinished(() => service.stop());
    await beat("results", "results-1", results);
    await beat("gateway", "gateway-1", gateway);
    await beat("bridge", "bridge-1", pipeline.bridge);
    const heard: Health[] = [];
    const client = await connectClient(gateway.url());
    client.on("health", (health) => void heard.push(health));
    const get = async (path: string) => {
      const response = await fetch(`${gateway.url()}${path}`);
      const text = await response.text();
      const isJson = response.headers.get("content-type")?.includes("json");
      return { status: response.status, text, body: (isJson ? JSON.parse(text) : {}) as Record<string, unknown> };
    };
    return { pipeline, ours, beat, heard, get };
  }

  async function setOf(topic: string, setting: string, value: number): Promise<void> {
    const admin = new Kafka({ brokers: kafka.brokers, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: 2, name: topic, configEntries: [{ name: setting, value: String(value) }] }],
    });
    await admin.disconnect();
  }
});

/** All that lies on the topic now. */
async function readAll(topics: TopicLog, topic: string) {
  const ends = await topics.ends(topic);
  const left = new Set(ends.flatMap((end, shard) => (BigInt(end) >= 0n ? [shard] : [])));
  const found: { value: Buffer }[] = [];
  const enough = new AbortController();
  for await (const message of topics.tail(topic, "earliest", enough.signal)) {
    found.push(message);
    if (message.position === ends[message.shard]) left.delete(message.shard);
    if (left.size === 0) enough.abort();
  }
  return found;
}
