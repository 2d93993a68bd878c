/**
 * The middle of vigilane in this process, for tests: a real Redis (topics on Kafka where the settings name brokers), the
 * simulated provider over HTTP, bridge and worker roles, a way to offer groups and a ledger of what came out.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import sharp from "sharp";
import { type Context, systemClock } from "../../src/context.ts";
import type { ImageStore } from "../../src/images/image-store.ts";
import type { Service } from "../../src/lifecycle.ts";
import type { AssessmentResult, Detection } from "../../src/messages.ts";
import { readResult } from "../../src/read-result.ts";
import { createBridge } from "../../src/roles/bridge.ts";
import { openImageStore } from "../../src/roles/open-image-store.ts";
import type { RoleService } from "../../src/roles/role-service.ts";
import { createWorker } from "../../src/roles/worker.ts";
import { Settings } from "../../src/settings.ts";
import { SimulatorConfig } from "../../src/simulator/simulator-config.ts";
import { startVisionProvider, type VisionProvider } from "../../src/simulator/vision-provider.ts";
import { openTopicLog } from "../../src/topics/open-topic-log.ts";
import { type OutgoingMessage, TOPICS, type TopicLog } from "../../src/topics/topic-log.ts";
import { startRedis, type TestRedis, type TestRedisOptions } from "./redis.ts";

export interface Pipeline {
  redis: TestRedis;
  provider: VisionProvider;
  settings: Settings;
  context: Context;
  topics: TopicLog;
  images: ImageStore;
  bridge: RoleService;
  worker: Service;
  /** One detection with `groups` groups of its own scene, each with a crop; resolves with the task ids. */
  offer(groups?: number, over?: Partial<Detection>): Promise<string[]>;
  publish(messages: OutgoingMessage[]): Promise<void>;
  /** Resolves with the results of these tasks, by task id, when each has one; rejects after `forMs`. */
  outcomes(taskIds: readonly string[], forMs?: number): Promise<Map<string, AssessmentResult[]>>;
  /** Everything that was ever published as result. */
  results: AssessmentResult[];
  stop(): Promise<void>;
}

export const silent: Context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };

/** A JPEG as a detector crops it. */
export const crop = await sharp({ create: { width: 64, height: 48, channels: 3, background: "#567" } })
  .jpeg()
  .toBuffer();

export async function startPipeline(
  options: { simulator?: object; settings?: Partial<Settings>; redis?: TestRedisOptions } = {},
): Promise<Pipeline> {
  const releases: (() => Promise<unknown> | unknown)[] = [];
  const data = mkdtempSync(join(tmpdir(), "vigilane-pipeline-"));
  releases.push(() => rmSync(data, { recursive: true, force: true }));
  const redis = await startRedis(options.redis);
  releases.push(() => redis.stop());
  const config = SimulatorConfig.parse({ latency: { meanMs: 40, p95Ms: 60 }, ...options.simulator });
  const provider = await startVisionProvider({ config }, silent);
  releases.push(() => provider.stop());
  const settings: Settings = {
    ...Settings.parse({}),
    data,
    redisUrl: redis.url,
    simulatorUrl: new URL("/", provider.url).href,
    ...options.settings,
  };
  const images = openImageStore(settings, silent);
  const topics = openTopicLog(settings, redis.url, silent);
  const bridge = createBridge(settings, silent);
  const worker = createWorker(settings, silent);
  for (const one of [images, topics, worker, bridge]) {
    releases.push(() => one.stop());
    await one.start();
  }
  const ledger = startLedger(topics);
  releases.push(() => ledger.stop());

  let offered = 0;
  return {
    redis,
    provider,
    settings,
    context: silent,
    topics,
    images,
    bridge,
    worker,
    results: ledger.results,
    outcomes: ledger.outcomes,
    publish: (messages) => topics.publish(TOPICS.detections, messages),
    async offer(groups = 1, over = {}) {
      offered += 1;
      const messageId = over.messageId ?? `offered-${offered}-${Math.random().toString(36).slice(2, 8)}`;
      const camera = String(over.cameraId ?? "cam");
      const detection = { ...(await aDetection(messageId, groups, offered)), ...over };
      const references = await Promise.all(
        detection.trafficGroups.map((group) => images.put(camera, `${messageId}_${group.groupIndex}`, crop)),
      );
      detection.groupImages ??= [];
      if (!over.groupImages) detection.groupImages = references.map((imageUrl, i) => ({ groupIndex: i + 1, imageUrl }));
      await topics.publish(TOPICS.detections, [{ key: camera, value: Buffer.from(JSON.stringify(detection)) }]);
      return detection.trafficGroups.map((group) => `${messageId}_group${group.groupIndex}`);
    },
    async stop() {
      for (const release of releases.reverse()) await release();
    },
  };
}

/** A frame with groups far from each other and unlike those of any other offered frame. */
async function aDetection(messageId: string, groups: number, nth: number): Promise<Detection> {
  const now = new Date().toISOString();
  const x = (nth % 50) * 2_000;
  const objects = Array.from({ length: groups * 2 }, (_, i) => ({
    class: i % 2 ? "person" : "car",
    confidence: 0.9,
    bbox: [x + i * 100, 10, x + i * 100 + 50, 60] as [number, number, number, number],
    trackId: nth * 1_000 + i,
  }));
  return {
    messageId,
    cameraId: "cam",
    timestamp: now,
    capturedAt: now,
    detectedAt: now,
    imageWidth: 640,
    imageHeight: 360,
    detectedObjects: objects,
    trafficGroups: Array.from({ length: groups }, (_, i) => ({
      groupIndex: i + 1,
      objectCount: 2,
      bbox: [x + i * 200, 10, x + i * 200 + 150, 60],
      classes: ["car", "person"],
      averageConfidence: 0.9,
      memberIndices: [2 * i, 2 * i + 1],
    })),
    groupImages: [],
  };
}

function startLedger(topics: TopicLog) {
  const results: AssessmentResult[] = [];
  const waiting = new Set<() => void>();
  const stopping = new AbortController();
  const reading = (async () => {
    await topics.ensureTopic(TOPICS.results);
    for await (const message of topics.tail(TOPICS.results, "earliest", stopping.signal)) {
      const result = readResult(message);
      if (typeof result === "string") continue; // what a test put there that is none
      results.push(result);
      for (const look of waiting) look();
    }
  })();
  return {
    results,
    outcomes(taskIds: readonly string[], forMs = 20_000) {
      const { promise, resolve, reject } = Promise.withResolvers<Map<string, AssessmentResult[]>>();
      const look = () => {
        const found = Map.groupBy(
          results.filter((result) => taskIds.includes(result.taskId)),
          (result) => result.taskId,
        );
        if (taskIds.every((id) => found.has(id))) resolve(found);
      };
      waiting.add(look);
      look();
      const timer = setTimeout(
        () =>
          reject(
            new Error(
              `no outcome within ${forMs} ms for ${taskIds.filter((id) => !results.some((r) => r.taskId === id)).join(", ")}`,
            ),
          ),
        forMs,
      );
      return promise.finally(() => {
        clearTimeout(timer);
        waiting.delete(look);
      });
    },
    async stop() {
      stopping.abort();
      await reading.catch(() => {});
    },
  };
}
