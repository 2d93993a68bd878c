/**
 * The whole of vigilane as people run it (`vigilane up` with its supervisor and role processes), without cameras: a real
 * Redis of the test's own (topics in it, or on a broker that is given), a simulated provider in this process (so that its statistics survive every kill), an open-loop
 * offer of groups, and a ledger of every result ever published.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Redis } from "ioredis";
import sharp from "sharp";
import { CameraRisk, type RoleHealth } from "../../src/events.ts";
import { createFolderImageStore } from "../../src/images/folder-image-store.ts";
import { AssessmentResult } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { Settings } from "../../src/settings.ts";
import { SimulatorConfig } from "../../src/simulator/simulator-config.ts";
import { startVisionProvider, type VisionProvider } from "../../src/simulator/vision-provider.ts";
import { readRunFile } from "../../src/supervisor/run-file.ts";
import { openTopicLog } from "../../src/topics/open-topic-log.ts";
import { TOPICS, type TopicLog } from "../../src/topics/topic-log.ts";
import { silent } from "./pipeline.ts";
import { startRedis, type TestRedis } from "./redis.ts";
import { type RedisProxy, startRedisProxy } from "./redis-proxy.ts";

export interface World {
  store: TestRedis;
  /** With the option `proxy`. */
  proxy: RedisProxy | undefined;
  redis: Redis;
  topics: TopicLog;
  provider: VisionProvider;
  data: string;
  /** The supervisor, and what it has printed so far. */
  supervisor: ChildProcess;
  output: () => string;
  /** The living process of a role, by its heartbeat; waits for one that is ready and was started after `notPid`. */
  role(role: string, notPid?: number): Promise<RoleHealth>;
  /** Offers so many groups a second, evenly, until `end`, which resolves with their task ids when all are published. */
  offer(options: { groupsPerSecond: number }): { end: () => Promise<string[]> };
  /** Outcomes that the results role has counted, over all cameras; waits until there are `atLeast`, 10 s at most. */
  countedByResults(atLeast: number): Promise<number>;
  /** Resolves when each of these tasks has a result; rejects after `forMs` with those that have none. */
  settled(
    taskIds: readonly string[],
    forMs: number,
  ): Promise<{ lost: string[]; doubled: string[]; results: AssessmentResult[] }>;
  /**
   * The store dies (SIGKILL) without its newest writes, as a machine does that loses its power: without those of `FORGOTTEN_MS`,
   * at a moment when in so long `count` has grown by more than `moreThan`. Resolves with by how much it had, the store being away.
   */
  storeForgets(count: () => number, moreThan: number): Promise<number>;
  /** Every result that was ever published. */
  results(): readonly AssessmentResult[];
  /** Task ids of what the gateways noted as shown; twice, what they noted twice. */
  shown(): Promise<string[]>;
  /** Resolves with the next result that is published after this call. */
  nextResult(): Promise<AssessmentResult>;
  stop(): Promise<void>;
}

export interface WorldOptions {
  roles?: string;
  /** "supervised": a role like the others, which may be killed; its statistics start anew then. Default: in this process. */
  provider?: "supervised";
  /** Puts a proxy before the store, for the roles alone. Default false. */
  proxy?: boolean;
  simulator?: object;
  /** How durable the store is. Default: as our own. */
  appendfsync?: "always" | "everysec";
  /** The topics are there, and not in the store. */
  kafkaBrokers?: readonly string[];
  /** What the topics are called on the wire, where a broker is not this world's alone. Default: as ever. */
  topicNames?: Pick<Settings, "detectionsTopic" | "resultsTopic">;
  env?: Record<string, string>;
}

const RUN_FILE_MS = 15_000;
/** What a store may forget: just under the two seconds of the promise. */
const FORGOTTEN_MS = 1_900;

const crop = await sharp({ create: { width: 64, height: 48, channels: 3, background: "#765" } })
  .jpeg()
  .toBuffer();

export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const releases: (() => unknown)[] = [];
  const data = mkdtempSync(join(tmpdir(), "vigilane-world-"));
  releases.push(() => rmSync(data, { recursive: true, force: true }));
  const store = await startRedis({ appendfsync: options.appendfsync ?? "always" });
  releases.push(() => store.stop());
  const config = SimulatorConfig.parse({ latency: { meanMs: 500, p95Ms: 800 }, ...options.simulator });
  const provider = await startVisionProvider({ config }, silent);
  releases.push(() => provider.stop());
  const redis = new Redis(store.url, { maxRetriesPerRequest: null, retryStrategy: () => 100 });
  redis.on("error", () => {});
  releases.push(() => redis.disconnect());

  const proxy = options.proxy ? await startRedisProxy(store.port) : undefined;
  releases.push(() => proxy?.close());

  let printed = "";
  const supervisor = spawn(
    process.execPath,
    ["src/main.ts", "up", "--roles", options.roles ?? "bridge,worker,results,gateway", "--port", "0"],
    {
      env: {
        ...process.env,
        REDIS_URL: proxy?.url ?? store.url,
        ...(options.provider !== "supervised" && { VIGILANE_SIMULATOR_URL: new URL("/", provider.url).href }),
        VIGILANE_DATA: data,
        VIGILANE_FRESHNESS_SECONDS: "0",
        ...(options.kafkaBrokers && { KAFKA_BROKERS: options.kafkaBrokers.join(",") }),
        ...(options.topicNames && {
          VIGILANE_DETECTIONS_TOPIC: options.topicNames.detectionsTopic,
          VIGILANE_RESULTS_TOPIC: options.topicNames.resultsTopic,
        }),
        ...options.env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  for (const stream of [supervisor.stdout, supervisor.stderr])
    stream.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  releases.push(async () => {
    if (supervisor.exitCode !== null || supervisor.signalCode !== null) return;
    supervisor.kill("SIGTERM");
    await once(supervisor, "exit");
  });

  const images = createFolderImageStore({ folder: join(data, "images") }, silent);
  const topics = openTopicLog(
    Settings.parse({ kafkaBrokers: options.kafkaBrokers ?? [], ...options.topicNames }),
    store.url,
    silent,
  );
  for (const one of [images, topics]) {
    await one.start();
    releases.push(() => one.stop());
  }
  const ledger = startLedger(topics);
  releases.push(() => ledger.stop());

  const role: World["role"] = async (name, notPid) => {
    for (;;) {
      const all = await redis.hgetall(KEYS.roles);
      const healths = Object.values(all).map((text) => JSON.parse(text) as RoleHealth);
      const found = healths.find(
        (health) => health.role === name && health.ready && health.pid !== notPid && Date.now() - health.atMs < 3_000,
      );
      if (found) return found;
      if (supervisor.exitCode !== null)
        throw new Error(`the supervisor ended with ${supervisor.exitCode}:\n${printed}`);
      await new Promise((resolve) => setTimeout(resolve, 50)); // polls the heartbeats, which come once a second
    }
  };
  for (const name of (options.roles ?? "bridge,worker,results,gateway").split(",")) await role(name);
  // By it the commands find what runs; it is written when all is ready, a little after the roles' own word.
  for (const until = performance.now() + RUN_FILE_MS; readRunFile(data) === undefined; await wait(50)) {
    if (performance.now() > until) throw new Error(`no run file within ${RUN_FILE_MS} ms:\n${printed}`);
  }

  let offered = 0;
  let stopped = false;
  return {
    store,
    proxy,
    topics,
    redis,
    provider,
    data,
    supervisor,
    output: () => printed,
    role,
    nextResult: ledger.next,
    results: ledger.results,
    settled: ledger.settled,
    offer({ groupsPerSecond }) {
      const ids: string[] = [];
      const publishing: Promise<void>[] = [];
      const ending = new AbortController();
      releases.push(() => ending.abort());
      const running = (async () => {
        const start = performance.now();
        for (let i = 0; !ending.signal.aborted; i++) {
          const dueMs = (i * 1_000) / groupsPerSecond - (performance.now() - start);
          if (dueMs > 0) await wait(dueMs, undefined, { signal: ending.signal }).catch(() => {}); // the pace of the offer
          offered += 1;
          const messageId = `offer-${offered}-${Math.random().toString(36).slice(2, 10)}`;
          ids.push(`${messageId}_group1`);
          publishing.push(publishGroup(messageId, offered));
        }
      })();
      return {
        async end() {
          ending.abort();
          await running;
          await Promise.all(publishing);
          return ids;
        },
      };
    },
    async storeForgets(count, moreThan) {
      type Moment = { ms: number; written: number; counted: number };
      const moments: [Moment, ...Moment[]] = [momentNow()];
      for (;;) {
        await wait(50);
        const now = momentNow();
        moments.push(now);
        while (moments[1] && now.ms - moments[1].ms >= FORGOTTEN_MS) moments.shift();
        const [then] = moments;
        if (now.ms - then.ms < FORGOTTEN_MS || now.counted - then.counted <= moreThan) continue;
        await store.dieAsOf(then.written);
        return count() - then.counted;
      }

      function momentNow(): Moment {
        return { ms: performance.now(), written: store.written(), counted: count() };
      }
    },
    async countedByResults(atLeast) {
      for (const until = Date.now() + 10_000; ; await wait(100)) {
        const risks = Object.values(await redis.hgetall(KEYS.risks)).map((text) => CameraRisk.parse(JSON.parse(text)));
        const counted = risks.flatMap((risk) => Object.values(risk.counts)).reduce((sum, n) => sum + n, 0);
        if (counted >= atLeast || Date.now() > until) return counted;
      }
    },
    async shown() {
      const entries = await redis.xrange(KEYS.shown, "-", "+");
      return entries.map(([, fields]) => fields[fields.indexOf("taskId") + 1] ?? "");
    },
    async stop() {
      stopped = true;
      for (const release of releases.reverse()) await release();
    },
  };

  async function publishGroup(messageId: string, nth: number): Promise<void> {
    const camera = `cam-${nth % 50}`;
    const imageUrl = await images.put(camera, messageId, crop);
    const now = new Date().toISOString();
    const box: [number, number, number, number] = [0, 0, 100, 100];
    const detection = {
      messageId,
      cameraId: camera,
      timestamp: now,
      capturedAt: now,
      detectedAt: now,
      imageWidth: 640,
      imageHeight: 360,
      detectedObjects: [{ class: "car", confidence: 0.9, bbox: box, trackId: nth }],
      trafficGroups: [
        { groupIndex: 1, objectCount: 1, bbox: box, classes: ["car"], averageConfidence: 0.9, memberIndices: [0] },
      ],
      groupImages: [{ groupIndex: 1, imageUrl }],
    };
    for (;;) {
      try {
        return await topics.publish(TOPICS.detections, [
          { key: camera, value: Buffer.from(JSON.stringify(detection)) },
        ]);
      } catch {
        if (stopped) return;
        await new Promise((resolve) => setTimeout(resolve, 200)); // the store is away: as a producer would, again later
      }
    }
  }
}

function startLedger(topics: TopicLog) {
  const results: AssessmentResult[] = [];
  const ended = new Map<string, number>();
  const waiting = new Set<(result?: AssessmentResult) => void>();
  const stopping = new AbortController();
  const reading = (async () => {
    await topics.ensureTopic(TOPICS.results);
    for await (const message of topics.tail(TOPICS.results, "earliest", stopping.signal)) {
      const result = AssessmentResult.parse(JSON.parse(message.value.toString()));
      results.push(result);
      ended.set(result.taskId, (ended.get(result.taskId) ?? 0) + 1);
      for (const look of waiting) look(result);
    }
  })();
  return {
    results: () => results,
    next: () =>
      new Promise<AssessmentResult>((resolve) => {
        const look = (result?: AssessmentResult) => {
          if (!result) return;
          waiting.delete(look);
          resolve(result);
        };
        waiting.add(look);
      }),
    async settled(taskIds: readonly string[], forMs: number) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const missing = new Set(taskIds.filter((id) => !ended.has(id)));
      const look = (result?: AssessmentResult) => {
        if (result) missing.delete(result.taskId);
        if (missing.size === 0) resolve();
      };
      waiting.add(look);
      look();
      const timer = setTimeout(resolve, forMs);
      await promise;
      clearTimeout(timer);
      waiting.delete(look);
      const asked = new Set(taskIds);
      return {
        lost: [...missing],
        doubled: taskIds.filter((id) => (ended.get(id) ?? 0) > 1),
        results: results.filter((result) => asked.has(result.taskId)),
      };
    },
    async stop() {
      stopping.abort();
      await reading.catch(() => {});
    },
  };
}
