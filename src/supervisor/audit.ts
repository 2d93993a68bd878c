/**
 * Watches a run from outside and reports: tails the two topics from where they end now, and what the gateways showed, and
 * looks once a second at the counters of cameras, key groups and roles. It owns nothing and changes nothing.
 */

import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { loop, type Service, service } from "../lifecycle.ts";
import { Outcome, Timings } from "../messages.ts";
import { KEYS } from "../names.ts";
import { readResult } from "../read-result.ts";
import { connectStore, placeInStream } from "../store.ts";
import { comparePositions, type Places, TOPICS, type TopicLog, type TopicMessage } from "../topics/topic-log.ts";
import { Histogram } from "./histogram.ts";
import { Ledger } from "./ledger.ts";
import { LATENCIES, type LatencyName, type Report } from "./report.ts";
import { RunCounters } from "./run-counters.ts";

export interface AuditOptions {
  redisUrl: string;
  /** Started by the audit. */
  topics: TopicLog;
  /** Seconds after capture for which a camera's verdicts are worth having; 0: for ever. */
  freshnessSeconds: (cameraId: string) => number;
  /** Which cameras' groups count. Default: all. */
  counts?: (cameraId: string) => boolean;
}

export interface Audit extends Service {
  /**
   * Counts no further detections than those appended by now; resolves when each of their groups has its outcome, or
   * when its outcome is overdue.
   */
  drain(): Promise<void>;
  /** Task ids of some lost groups. */
  someLost(): string[];
  report(): Report;
}

const SAMPLE_MS = 1_000;
/** An outcome may come so much later than its deadline: the sweep, the outbox, the topic. */
const OVERDUE_MS = 10_000;
/** Where nothing expires: so long without any outcome, and what is open counts as lost. */
const SILENCE_MS = 60_000;
/** What was published has this long to be shown. */
const SHOW_MS = 2_000;
/** Roles write their counters once a second. */
const SNAPSHOT_MS = 1_200;

/** Read with care: older producers write to the topic too. */
const SeenDetection = z.looseObject({
  messageId: z.string().optional().catch(undefined),
  cameraId: z.union([z.string(), z.number()]),
  capturedAt: z.string().optional().catch(undefined),
  detectedAt: z.string().optional().catch(undefined),
  trafficGroups: z.array(z.unknown()),
});
const Shown = Timings.extend({ shownAt: z.number() });

export function createAudit(options: AuditOptions, context: Context): Audit {
  const { clock, log } = context;
  const { topics } = options;
  const counts = options.counts ?? (() => true);
  const ledger = new Ledger();
  const histograms = Object.fromEntries(LATENCIES.map((name) => [name, new Histogram()])) as Record<
    LatencyName,
    Histogram
  >;
  const counters = new RunCounters(counts);
  const reached = { detections: [] as string[], results: [] as string[] };
  let simulated = false;
  let shown = 0;
  let lastOutcomeMs = clock.monotonicMs();
  let startedMs = clock.monotonicMs();
  let endedMs: number | undefined;
  let countUntil: Places | undefined;

  function onDetection(message: TopicMessage): void {
    reached.detections[message.shard] = message.position;
    const until = countUntil?.[message.shard];
    if (until !== undefined && comparePositions(message.position, until) > 0) return;
    const parsed = SeenDetection.safeParse(readJson(message.value));
    if (!parsed.success) return; // a dead letter: no groups
    const { messageId, cameraId, capturedAt, detectedAt, trafficGroups } = parsed.data;
    const camera = String(cameraId);
    if (!counts(camera)) return;
    counters.cameras.add(camera);
    const captured = Date.parse(capturedAt ?? "");
    note("captureToDetected", captured, Date.parse(detectedAt ?? ""));
    const freshness = options.freshnessSeconds(camera);
    const from = Number.isNaN(captured) ? message.appendedAtMs : Math.max(captured, message.appendedAtMs);
    const dueMs = freshness === 0 ? Number.POSITIVE_INFINITY : from + freshness * 1000;
    const id = messageId ?? `${message.topic}-${message.shard}-${message.position}`;
    ledger.detected(id, trafficGroups.map(groupIndexOf), dueMs);
  }

  function onResult(message: TopicMessage): void {
    reached.results[message.shard] = message.position;
    const result = readResult(message);
    if (typeof result === "string") return;
    const { taskId, revision, outcome, cameraId, metadata } = result;
    if (!counts(String(cameraId))) return;
    if (!ledger.result(taskId, revision, outcome)) return;
    lastOutcomeMs = clock.monotonicMs();
    if (metadata.simulated) simulated = true;
    const { timings } = metadata;
    note("detectedToAdmitted", timings.detectedAt, timings.admittedAt);
    note("admittedToStarted", timings.admittedAt, timings.startedAt);
    note("llm", timings.startedAt, timings.answeredAt);
    note("completedToPublished", timings.completedAt, timings.publishedAt ?? message.appendedAtMs);
  }

  function onShown(taskId: string, outcome: Outcome, json: string): void {
    const parsed = Shown.safeParse(readJson(json));
    if (!parsed.success || !ledger.knows(taskId)) return;
    shown += 1;
    if (outcome !== "assessed" && outcome !== "reused") return;
    const t = parsed.data;
    note("publishedToShown", t.publishedAt, t.shownAt);
    note("endToEnd", t.capturedAt, t.shownAt);
    const parts = [t.startedAt, t.answeredAt, t.detectedAt, t.admittedAt, t.takenAt];
    if (outcome !== "assessed" || parts.some((part) => part === undefined)) return;
    const llm = span(t.startedAt, t.answeredAt);
    const detector = span(t.capturedAt, t.detectedAt);
    const quota = span(t.admittedAt, t.takenAt);
    histograms.overhead.add(Math.max(0, t.shownAt - t.capturedAt - llm - detector - quota));
  }

  /** Adds to − from where both happened; clocks of one machine may disagree by a little. */
  function note(name: LatencyName, from: number | undefined, to: number | undefined): void {
    if (from !== undefined && to !== undefined) histograms[name].add(Math.max(0, to - from));
  }

  let connection: Redis | undefined;
  const base = service("audit", context, async (acquired, signal) => {
    const redis = acquired.add(await connectStore(options.redisUrl, context, {}, signal), "connection", (r) =>
      r.disconnect(),
    );
    connection = redis;
    const reader = acquired.add(await connectStore(options.redisUrl, context, {}, signal), "reader", (r) =>
      r.disconnect(),
    );
    await acquired.start(topics);
    for (const topic of [TOPICS.detections, TOPICS.results]) await topics.ensureTopic(topic);
    // Results first: what is appended between the two belongs to no detection that counts.
    const results = await topics.ends(TOPICS.results);
    const lastShown = (await redis.xrevrange(KEYS.shown, "+", "-", "COUNT", 1))[0]?.[0] ?? "0-0";
    const detections = await topics.ends(TOPICS.detections);
    reached.detections = [...detections];
    reached.results = [...results];
    await counters.sample(redis, clock.nowMs());
    counters.begin();
    startedMs = lastOutcomeMs = clock.monotonicMs();
    const run = (what: string, work: Promise<void>) => acquired.add(work, what, (done) => done);
    run("results", follow(topics.tail(TOPICS.results, results, signal), onResult));
    run("detections", follow(topics.tail(TOPICS.detections, detections, signal), onDetection));
    run("shown", followShown(reader, lastShown, signal, onShown, context));
    run(
      "samples",
      loop(context, signal, "sampling", async () => {
        await clock.sleep(SAMPLE_MS, signal);
        await counters.sample(redis, clock.nowMs());
      }),
    );
    signal.addEventListener("abort", () => reader.disconnect(), { once: true });
  });

  /** Until `done` holds; false when it does not within `withinMs`. */
  async function until(done: () => boolean, withinMs: number): Promise<boolean> {
    const byMs = clock.monotonicMs() + withinMs;
    while (!done()) {
      if (clock.monotonicMs() > byMs) return false;
      await clock.sleep(50);
    }
    return true;
  }

  const upTo = (have: readonly string[], ends: Places) =>
    ends.every((end, shard) => comparePositions(have[shard] ?? end, end) >= 0);

  return {
    ...base,
    async drain() {
      endedMs ??= clock.monotonicMs();
      const ends = await topics.ends(TOPICS.detections);
      countUntil ??= ends;
      if (!(await until(() => upTo(reached.detections, ends), 15_000)))
        log.warn("the audit could not read all detections");
      lastOutcomeMs = clock.monotonicMs();
      await until(() => {
        const dueMs = ledger.lastDueMs;
        if (dueMs === undefined) return true;
        if (dueMs === Number.POSITIVE_INFINITY) return clock.monotonicMs() - lastOutcomeMs > SILENCE_MS;
        return clock.nowMs() > dueMs + OVERDUE_MS;
      }, 3_600_000);
      // Second results, too, that were appended by now.
      const lastResults = await topics.ends(TOPICS.results);
      await until(() => upTo(reached.results, lastResults), 5_000);
      await until(() => shown >= sum(Object.values(ledger.outcomes)), shown > 0 ? SHOW_MS : 0);
      await clock.sleep(SNAPSHOT_MS); // the counters of the last calls are on their way
      if (connection) await counters.sample(connection, clock.nowMs());
    },
    someLost: () => ledger.someOpen(5),
    report() {
      const seconds = ((endedMs ?? clock.monotonicMs()) - startedMs) / 1000;
      return {
        seconds: Math.round(seconds * 10) / 10,
        cameras: counters.cameras.size,
        frames: counters.frames,
        groups: ledger.groups,
        outcomes: { ...ledger.outcomes },
        lost: ledger.lost,
        duplicates: ledger.duplicates,
        detectedAgain: ledger.detectedAgain,
        latencyMs: Object.fromEntries(
          LATENCIES.map((name) => [name, histograms[name].percentiles()]),
        ) as Report["latencyMs"],
        keyGroups: counters.keyGroups(seconds),
        provider: { simulated: simulated || counters.simulated },
        restarts: counters.restarts,
        rssMb: counters.rssMb,
      };
    },
  };
}

async function follow(messages: AsyncIterable<TopicMessage>, take: (message: TopicMessage) => void): Promise<void> {
  for await (const message of messages) take(message);
}

async function followShown(
  reader: Redis,
  from: string,
  signal: AbortSignal,
  take: (taskId: string, outcome: Outcome, json: string) => void,
  context: Context,
): Promise<void> {
  let last = from;
  await loop(context, signal, "reading what was shown", async () => {
    const reply = await reader.xread("COUNT", 500, "BLOCK", 2_000, "STREAMS", KEYS.shown, last);
    if (reply === null) last = await placeInStream(reader, KEYS.shown, last);
    for (const [id, flat] of reply?.[0]?.[1] ?? []) {
      last = id;
      const fields = new Map<string, string>();
      for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] ?? "", flat[i + 1] ?? "");
      const outcome = Outcome.safeParse(fields.get("outcome"));
      if (outcome.success) take(fields.get("taskId") ?? "", outcome.data, fields.get("json") ?? "");
    }
  });
}

/** As the bridge numbers it: an entry without a number has its place, from 1. */
function groupIndexOf(entry: unknown, place: number): number {
  const index = typeof entry === "object" && entry !== null && "groupIndex" in entry ? entry.groupIndex : undefined;
  return typeof index === "number" && Number.isInteger(index) ? index : place + 1;
}

function readJson(text: Buffer | string): unknown {
  try {
    return JSON.parse(text.toString());
  } catch {
    return undefined;
  }
}

const span = (from = 0, to = 0) => Math.max(0, to - from);
const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
