/** One pipeline test from connecting to its verdict: what was sent, what came back, and what is not there. */
import type { Context } from "../context.ts";
import { errorCode, VigilaneError } from "../errors.ts";
import { RoleHealth } from "../events.ts";
import { Acquired, abortOf, within } from "../lifecycle.ts";
import { Detection } from "../messages.ts";
import { KEYS } from "../names.ts";
import { ensureLoadCrops } from "../roles/load-crops.ts";
import { openImageStore } from "../roles/open-image-store.ts";
import type { Settings } from "../settings.ts";
import { type CameraLoad, createCameraLoad } from "../simulator/camera-load.ts";
import { connectStore } from "../store.ts";
import { openTopicLog } from "../topics/open-topic-log.ts";
import { type OutgoingMessage, TOPICS, type TopicLog } from "../topics/topic-log.ts";
import { Tally } from "./pipeline-tally.ts";
import type { PipelinePlan } from "./pipeline-test.ts";
import { faultsOf, type PipelineVerdict } from "./pipeline-verdict.ts";
import type { RunningSystem } from "./running-system.ts";

/** By it everybody can tell these cameras from real ones; few of them, so that no map or list fills up with them. */
const CAMERAS_BEGIN_WITH = "pipeline-test-";
const MOST_CAMERAS = 4;

/** A second result of a group has this long to come before the verdict. */
const SECOND_RESULT_MS = 500;
const LOOK_MS = 50;
/** Roles show themselves once a second; older than this, and one is gone. */
const HEARTBEAT_MS = 5_000;
/** What a judged group needs, in the order of its way. */
const ROLES_NEEDED = ["bridge", "worker"];
const SOME = 5;

/** Rejects when topics or images cannot be reached within the time-out, or when `signal` aborts before they are. */
export async function runPipelineTest(
  plan: PipelinePlan,
  system: RunningSystem,
  context: Context,
  signal: AbortSignal,
): Promise<PipelineVerdict> {
  const { clock } = context;
  const { mode, duration } = plan;
  const timeoutMs = plan.timeout * 1000;
  const tally = new Tally(mode !== "consumer");
  const acquired = new Acquired();
  /** For so long, or until `done`, or until it is interrupted. */
  const wait = async (forMs: number, done = () => false) => {
    const byMs = clock.monotonicMs() + forMs;
    while (!done() && !signal.aborted && clock.monotonicMs() < byMs) await clock.sleep(LOOK_MS, signal).catch(() => {});
  };
  try {
    const crops = mode === "consumer" ? [] : await ensureLoadCrops(system.settings, context, signal);
    const topics = acquired.add(openTopicLog(system.settings, system.settings.redisUrl ?? "", context), "topics", (t) =>
      t.stop(),
    );
    const connecting = within(clock, timeoutMs, "connecting to the topics", async () => {
      await topics.start();
      if (mode !== "consumer") await topics.ensureTopic(TOPICS.detections);
      if (mode !== "producer") await readResults(topics, tally, acquired, context);
    });
    await orInterrupted(signal, connecting).catch((error: unknown) => {
      throw errorCode(error) === "TIMED_OUT" ? awayError(system.settings, plan.timeout) : error;
    });
    context.log.info("connected");
    const startedMs = clock.monotonicMs();
    if (mode === "consumer") await wait(duration * 1000);
    else {
      const images = await imagesOf(system, acquired, context);
      const load = createCameraLoad(
        { ...scheduleOf(plan), crops, topics: noting(topics, tally, context), ...images },
        context,
      );
      await offered(load, duration * 1000 + timeoutMs, context, signal);
      if (mode === "e2e") {
        await wait(timeoutMs, () => tally.missing().length === 0);
        await wait(SECOND_RESULT_MS);
      }
    }
    const seconds = (clock.monotonicMs() - startedMs) / 1000;
    return await judge(plan, system.settings, tally, { seconds, interrupted: signal.aborted }, context);
  } finally {
    await acquired.unwind(context);
  }
}

/** `plan.count` messages evenly over `plan.duration`, the cameras taking turns. */
function scheduleOf({ count, duration, seed }: PipelinePlan) {
  const cameras = Math.min(MOST_CAMERAS, count);
  // Half a gap before the time of the one that would be the next: exactly `count`, however the fractions fall.
  const seconds = (duration * (count - 0.5)) / count;
  const rate = count / duration / cameras;
  return { cameras, prefix: CAMERAS_BEGIN_WITH, firstNth: seed, rate, seconds, seed, arrivals: "constant" } as const;
}

/** The topic, with a note of each detection before and after. */
function noting(topics: TopicLog, tally: Tally, { clock }: Context): Pick<TopicLog, "publish"> {
  return {
    async publish(topic: string, messages: readonly OutgoingMessage[]) {
      const ids = messages.map(({ value }) => tally.ask(Detection.parse(JSON.parse(value.toString()))));
      const atMs = clock.monotonicMs();
      try {
        await topics.publish(topic, messages);
      } catch (error) {
        tally.refused += ids.length;
        throw error;
      }
      for (const id of ids) tally.accepted.add(id);
      tally.acceptedAfter.add(clock.monotonicMs() - atMs);
    },
  };
}

/** Where the system runs on this data folder, or crops are on S3, they go into its image store, as its detector's do; else into the messages. */
async function imagesOf({ settings, here }: RunningSystem, acquired: Acquired, context: Context) {
  if (!here && settings.s3Bucket === undefined) return {};
  return { images: await acquired.start(openImageStore(settings, context)) };
}

/** Resolves when all was accepted or refused, after `withinMs`, or when interrupted. */
async function offered(load: CameraLoad, withinMs: number, { clock }: Context, signal: AbortSignal): Promise<void> {
  const enough = new AbortController();
  const late = clock.sleep(withinMs, AbortSignal.any([signal, enough.signal])).catch(() => {});
  await Promise.race([load.run(signal), late]).finally(() => enough.abort());
}

/** Reads from where the topic ends now; resolves when what comes after this will be seen. */
async function readResults(topics: TopicLog, tally: Tally, acquired: Acquired, { clock, log }: Context): Promise<void> {
  await topics.ensureTopic(TOPICS.results);
  const places = await topics.ends(TOPICS.results);
  const ended = new AbortController();
  const reading = (async () => {
    for await (const message of topics.tail(TOPICS.results, places, ended.signal)) {
      tally.result(message, clock.nowMs());
      log.debug({ camera: message.key, received: tally.results.received }, "a message on the results topic");
    }
  })().catch((err: unknown) => log.warn({ err }, "results cannot be read any more"));
  acquired.add(reading, "reading results", (done) => {
    ended.abort();
    return done;
  });
}

async function judge(
  { mode, count, timeout }: PipelinePlan,
  settings: Settings,
  tally: Tally,
  how: Pick<PipelineVerdict, "seconds" | "interrupted">,
  context: Context,
): Promise<PipelineVerdict> {
  const { results } = tally;
  const missing = mode === "e2e" ? tally.missing() : [];
  const judged = results.outcomes.assessed + results.outcomes.reused;
  const looks = mode === "e2e" ? missing.length > 0 || judged === 0 : mode === "consumer" && results.received === 0;
  const verdict = {
    mode,
    ...how,
    seconds: oneDigit(how.seconds),
    system: {
      ...topicsOf(settings),
      simulated: results.simulated ?? null,
      models: [...results.models],
      rolesAbsent: looks ? await absentRoles(settings, timeout * 1000, context) : null,
    },
    asked: mode === "consumer" ? 0 : count,
    sent: tally.accepted.size,
    refused: tally.refused,
    unacknowledged: tally.askedAtMs.size - tally.accepted.size - tally.refused,
    received: results.received,
    receivedPerSecond: oneDigit(results.received / Math.max(0.001, how.seconds)),
    cameras: results.cameras.size,
    missing: missing.length,
    someMissing: missing.slice(0, SOME),
    duplicates: results.duplicates,
    unreadable: results.unreadable,
    outcomes: { ...results.outcomes },
    errors: Object.fromEntries(results.errors),
    latencyMs: {
      accepted: tally.acceptedAfter.percentiles(),
      roundTrip: tally.roundTrip.percentiles(),
      sinceCapture: results.sinceCapture.percentiles(),
      llm: results.llm.percentiles(),
    },
  };
  const faults = faultsOf(verdict);
  return { ...verdict, faults, passed: faults.length === 0 };
}

/** Roles that are needed and of which none shows itself; null: there is no store to ask, or it does not answer. */
async function absentRoles({ redisUrl }: Settings, withinMs: number, context: Context): Promise<string[] | null> {
  if (redisUrl === undefined) return null;
  const enough = new AbortController();
  try {
    return await within(context.clock, withinMs, "the store's answer", async () => {
      const redis = await connectStore(redisUrl, context, {}, enough.signal);
      try {
        const healths = Object.values(await redis.hgetall(KEYS.roles)).map((text) =>
          RoleHealth.parse(JSON.parse(text)),
        );
        const sinceMs = context.clock.nowMs() - HEARTBEAT_MS;
        const there = new Set(healths.filter(({ atMs }) => atMs > sinceMs).map(({ role }) => role));
        return ROLES_NEEDED.filter((role) => !there.has(role));
      } finally {
        redis.disconnect();
      }
    });
  } catch (err) {
    context.log.warn({ err }, "the store does not say which roles are there");
    return null;
  } finally {
    enough.abort();
  }
}

function awayError(settings: Settings, seconds: number): VigilaneError {
  const { topics, at } = topicsOf(settings);
  const what = topics === "kafka" ? "broker" : "store";
  return new VigilaneError(
    `${topics === "kafka" ? "BROKER" : "STORE"}_AWAY`,
    `no ${what} answers at ${at} within ${seconds} s`,
  );
}

/** Which topics, and where; never with a password. */
function topicsOf({ kafkaBrokers, redisUrl = "" }: Settings): Pick<PipelineVerdict["system"], "topics" | "at"> {
  if (kafkaBrokers.length > 0) return { topics: "kafka", at: kafkaBrokers.join(",") };
  return { topics: "redis", at: new URL(redisUrl).host };
}

function orInterrupted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return Promise.race([work, abortOf(signal).then(() => Promise.reject(signal.reason))]);
}

const oneDigit = (value: number) => Math.round(value * 10) / 10;
