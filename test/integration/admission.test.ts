/** How a bridge admits the messages of one shard: against a real store, with the store's calls and the reading written down. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { type AdmitParts, admitDetections } from "../../src/bridge/admit.ts";
import { readDetection } from "../../src/bridge/read-detection.ts";
import { createFolderImageStore } from "../../src/images/folder-image-store.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { silent } from "../support/pipeline.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

const MESSAGES = 150;
const TOPIC = "detections";

let server: TestRedis;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis?.disconnect();
  await server?.stop();
});
beforeEach(() => redis.flushall());

const aDetection = (nth: number) => ({
  messageId: `m-${nth}`,
  cameraId: "north-gate",
  imageWidth: 640,
  imageHeight: 360,
  detectedObjects: [{ class: "car", confidence: 0.9, bbox: [0, 0, 5, 5] }],
  // Two groups a message, so that a call of the store has those of fifty.
  trafficGroups: [1, 2].map((groupIndex) => ({ groupIndex, bbox: [0, 0, 9, 9], memberIndices: [0] })),
  groupImages: [],
});

/** A bridge's admission of one shard with `count` messages in it, as one batch; `change` the parts it works with. */
async function scene(count: number, change: (parts: AdmitParts) => Partial<AdmitParts>) {
  const settings = { redisUrl: server.url, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28, shards: 1 };
  const log = createRedisTopicLog(settings, silent);
  onTestFinished(() => log.stop());
  await log.start();
  await log.ensureTopic(TOPIC);
  const said = (nth: number) => ({ key: "north-gate", value: Buffer.from(JSON.stringify(aDetection(nth))) });
  await log.publish(
    TOPIC,
    Array.from({ length: count }, (_, nth) => said(nth)),
  );
  const folder = mkdtempSync(join(tmpdir(), "vigilane-admission-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const images = createFolderImageStore({ folder }, silent);
  onTestFinished(() => images.stop());
  await images.start();
  const parts: AdmitParts = {
    detections: log.subscribe(TOPIC, { group: "bridge", consumer: "a" }),
    ...{ read: readDetection, leftToUs: false, isJudgedElsewhere: () => false, inlineImages: false, images },
    room: createWaitingRoom(redis, { maxWaiting: 10_000 }),
    policyOf: () => ({ freshnessSeconds: 0, reuseSeconds: 0 }),
    maxOutbox: 1_000_000,
  };
  const counts = { messages: 0, groups: 0, deadLetters: 0, again: 0, captureUntrusted: 0, resting: 0, handed: 0 };
  const stop = new AbortController();
  const admitting = admitDetections({ ...parts, ...change(parts) }, silent, stop.signal, counts);
  /** Until everything is acknowledged. */
  const drained = async () => {
    await expect.poll(async () => (await log.lag(TOPIC, "bridge")).messages, { timeout: 15_000 }).toBe(0);
    stop.abort();
    await admitting;
  };
  return { log, counts, drained };
}

/** The room, and `around` each call that has arrivals. */
const watched = (room: WaitingRoom, around: (call: () => ReturnType<WaitingRoom["admit"]>, ids: string[]) => unknown) =>
  ({
    ...room,
    admit: (arrivals) => {
      const call = () => room.admit(arrivals);
      return arrivals.length === 0
        ? call()
        : around(
            call,
            arrivals.map(({ task }) => task.taskId),
          );
    },
  }) as WaitingRoom;

const idsOf = (count: number) =>
  Array.from({ length: count }, (_, nth) => [`m-${nth}_group1`, `m-${nth}_group2`]).flat();

test("while the store has the first messages of a batch the next are read; its calls come in order, one at a time", async () => {
  const events: string[] = [];
  const calls: string[][] = [];
  const { counts, drained } = await scene(MESSAGES, ({ read, room }) => ({
    read: (value) => {
      events.push("read");
      return read(value);
    },
    room: watched(room, async (call, ids) => {
      calls.push(ids);
      events.push("call");
      const report = await call();
      events.push("answer");
      return report;
    }),
  }));
  await drained();
  expect(calls.flat()).toEqual(idsOf(MESSAGES));
  expect(calls.map((ids) => ids.length)).toEqual([100, 100, 100]);
  expect(events.filter((event) => event !== "read")).toEqual(["call", "answer", "call", "answer", "call", "answer"]);
  const meanwhile = events.slice(events.indexOf("call"), events.indexOf("answer"));
  expect(meanwhile.filter((event) => event === "read").length).toBeGreaterThanOrEqual(49);
  expect(counts).toMatchObject({ messages: MESSAGES, groups: 2 * MESSAGES, again: 0, deadLetters: 0 });
});

test.each(["the store's call", "the reading"])(
  "%s fails in mid-batch: nothing of it is acknowledged, and all of it comes again, to one admission each",
  async (what) => {
    const admitted = new Map<string, number>();
    let [calls, reads, atWork, mostAtWork, seenLag] = [0, 0, 0, 0, Number.NaN];
    const { log, counts, drained } = await scene(MESSAGES, ({ read, room, policyOf }) => ({
      read: (value) => {
        reads += 1;
        return read(value);
      },
      // Where a message's own reading cannot fail, what stands around it may.
      policyOf: (id) => {
        if (what === "the reading" && reads === 75) throw new Error("no policy at present");
        return policyOf(id);
      },
      room: watched(room, async (call, ids) => {
        calls += 1;
        atWork += 1;
        mostAtWork = Math.max(mostAtWork, atWork);
        try {
          if (what !== "the reading" && calls === 2) {
            seenLag = (await log.lag(TOPIC, "bridge")).messages;
            throw new Error("the store is away");
          }
          const { admissions, outboxLength } = await call();
          for (const [i, id] of ids.entries())
            if (admissions[i] !== "known") admitted.set(id, (admitted.get(id) ?? 0) + 1);
          return { admissions, outboxLength };
        } finally {
          atWork -= 1;
        }
      }),
    }));
    await drained();
    expect([...admitted.keys()].toSorted()).toEqual(idsOf(MESSAGES).toSorted());
    expect(new Set(admitted.values())).toEqual(new Set([1]));
    expect(mostAtWork).toBe(1);
    expect(counts.again).toBe(100); // the first call's, which had been admitted
    if (what !== "the reading") expect(seenLag).toBe(MESSAGES);
  },
);
