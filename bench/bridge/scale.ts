/**
 * What more processes bring: groups a second that one, two and three bridges admit, and that as many workers complete.
 *
 *     node bench/bridge/scale.ts [--rounds 3] [--seconds 5] [--warm-up 2] [--messages 6000] [--core-share 0.2]
 *       [--only bridges-1,…,workers-3]
 *
 * Bridges: the real roles on a local Kafka (one node, needs Java; 16 partitions), which have admitted 4,000 messages each
 * and then find --messages of two groups for each of them; they are stopped (SIGSTOP) while these are published, or confined.
 * Measured for --seconds, from the first tenth to the seventh at most, with nothing else at work but broker and store. Workers: one bridge that has admitted all --messages, a
 * simulated provider without any limits (answers after 20 ms), forty calls at once, completions counted in the store for
 * --seconds. The redis-server syncs each write.
 *
 * What a process takes of the CPU is told beside each rate, in cores: where they add up to all cores there are, more processes
 * cannot bring more, and the groups for each of their CPU-seconds say what a core more would. --core-share holds each bridge or
 * worker that is counted, once it is warm, to that share of a core (Linux control groups, so as a rule root; default: all that
 * it can get), so that those they share, store and broker and provider, have room on a small machine; the periods in which they
 * were held back say whether it was that share that bound them.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { pino } from "pino";
import { type Context, systemClock } from "../../src/context.ts";
import { createFolderImageStore } from "../../src/images/folder-image-store.ts";
import { CONSUMER_GROUPS, KEYS } from "../../src/names.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { createKafkaTopicTools } from "../../src/topics/kafka-topic-tools.ts";
import { startKafka } from "../../test/support/kafka.ts";
import { freePort, startRedis } from "../../test/support/redis.ts";
import { type Confined, confine, findCoreShares } from "../quota/core-share.ts";
import { aCrop, groupsOf, secretOf } from "../quota/engine.ts";
import { startProvider } from "../quota/provider-process.ts";
import { report } from "../quota/report.ts";
import { startRole } from "../quota/role-process.ts";
import { interleave, readOptions } from "../quota/rounds.ts";
import { detectionMessages } from "./detections.ts";
import { measureRate, type Rate, rateFigures } from "./rate.ts";

const PARTITIONS = 16;
/** So that the partitions' shares are about even. */
const CAMERAS = 480;
const GROUPS_A_MESSAGE = 2;
/** Of the messages; a member that is stopped longer than 6 s loses its place. */
const PUBLISH_WITHIN_MS = 4_500;
/** Until the partitions are shared, once all are members. */
const SHARED_MS = 1_500;
/** Enough for any machine, so that nothing waits for quota. */
const CALLS_A_SECOND = 1_000;
/**
 * Calls of one of the ten groups that may be under way: enough that workers always have jobs to begin, and few enough that one
 * held to a fifth of a core begins each before its lease lapses (after 1 s); what lapses is work for nothing.
 */
const CALLS_AT_ONCE = 4;
const ANSWER_MS = 20;
const PUBLISHED_AT_ONCE = 500;
/** Messages for each bridge before it is measured, so that its code is compiled. */
const WARM_UP_MESSAGES = 4_000;
/** Until what the workers had begun with the whole machine has ended. */
const CONFINED_MS = 2_000;

const { "core-share": coreShare, ...given } = readOptions({ messages: 6_000, "core-share": 0 }, 2);
const options = { ...given, rounds: given.rounds === 5 ? 3 : given.rounds };
const shares = coreShare > 0 ? coreSharesOrEnd() : undefined;
const context: Context = { clock: systemClock, log: pino({ level: "warn" }) };
const server = await startRedis({ appendfsync: "always" });
const redis = new Redis(server.url);
const kafka = await startKafka();
const folder = mkdtempSync(join(tmpdir(), "vigilane-bench-"));
const images = createFolderImageStore({ folder: join(folder, "images") }, context);
const kept = { brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 32, shards: PARTITIONS };
const log = createKafkaTopicLog(kept, context);
const tools = createKafkaTopicTools(kept, context);
const providerUrl = `http://127.0.0.1:${await freePort()}/v1`;
const [keys, simulator] = [join(folder, "keys.yaml"), join(folder, "simulator.yaml")];
const keyGroups = groupsOf(10, CALLS_A_SECOND).map(({ id }) => ({ id, secret: secretOf(id) }));
writeFileSync(
  keys,
  JSON.stringify({
    keyGroups: keyGroups.map(({ id, secret }) => ({
      ...{ id, provider: "simulated", windows: { requestsPerSecond: CALLS_A_SECOND, maxConcurrent: CALLS_AT_ONCE } },
      keys: [{ id: "key", secret }],
    })),
  }),
);
writeFileSync(
  simulator,
  JSON.stringify({
    latency: { meanMs: ANSWER_MS, p95Ms: ANSWER_MS },
    accounts: keyGroups.map(({ id, secret }) => ({ id, keys: [secret] })),
  }),
);
await Promise.all([images.start(), log.start(), tools.start()]);
const imageUrl = await images.put("bench", "crop", await aCrop());

/** Role processes on topics of their own and an empty store; all are stopped after `work`. */
async function scene<T>(work: (at: Scene) => Promise<T>): Promise<T> {
  await redis.flushall();
  scenes += 1;
  const topic = `detections-${process.pid}-${scenes}`;
  const env = {
    ...{ REDIS_URL: server.url, KAFKA_BROKERS: kafka.brokers.join(","), VIGILANE_DATA: folder },
    ...{ VIGILANE_DETECTIONS_TOPIC: topic, VIGILANE_RESULTS_TOPIC: `results-${process.pid}-${scenes}` },
    ...{ VIGILANE_KEYS: keys, VIGILANE_SIMULATOR: simulator, VIGILANE_SIMULATOR_URL: providerUrl },
    ...{ VIGILANE_CALLS_PER_DAY: "0", VIGILANE_FRESHNESS_SECONDS: "0", VIGILANE_MAX_WAITING: "1000000" },
  };
  const releases: (() => Promise<void>)[] = [];
  const start = (role: string, count: number) =>
    Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const one = await startRole(role, { env: { ...env, VIGILANE_INSTANCE: `${role}-${i + 1}` } });
        releases.push(() => one.stop());
        return one.pid;
      }),
    );
  const hold = (pids: readonly number[]) => {
    if (!shares) return [];
    return pids.map((pid) => {
      const confined = confine(pid, coreShare, shares);
      // Before it is stopped: it ends with the whole machine.
      releases.unshift(async () => confined.release());
      return confined;
    });
  };
  try {
    await log.ensureTopic(topic);
    return await work({ topic, env, start, hold, releases });
  } finally {
    await Promise.all(releases.map((release) => release()));
  }
}
let scenes = 0;
interface Scene {
  topic: string;
  env: Record<string, string>;
  /** Resolves with the processes' ids when they are ready. */
  start: (role: string, count: number) => Promise<number[]>;
  /** Confines them, where that is asked for. */
  hold: (pids: readonly number[]) => Confined[];
  releases: (() => Promise<void>)[];
}

const counted = async (what: string) => Number((await redis.hget(KEYS.counters, what)) ?? 0);

async function publish(topic: string, count: number, from: number): Promise<void> {
  const messages = detectionMessages(count, { groups: GROUPS_A_MESSAGE, cameras: CAMERAS, imageUrl, from });
  const calls = [];
  for (let i = 0; i < messages.length; i += PUBLISHED_AT_ONCE)
    calls.push(log.publish(topic, messages.slice(i, i + PUBLISHED_AT_ONCE)));
  await Promise.all(calls);
}

const admitted = (bridges: number) =>
  scene(async ({ topic, start, hold }): Promise<Rate> => {
    const pids = await start("bridge", bridges);
    const consumers = async () =>
      (await tools.groups(topic)).find(({ group }) => group === CONSUMER_GROUPS.bridge)?.consumers.length ?? 0;
    while ((await consumers()) < bridges) await systemClock.sleep(100);
    await systemClock.sleep(SHARED_MS);
    const [warmUp, messages] = [WARM_UP_MESSAGES * bridges, options.messages * bridges];
    await publish(topic, warmUp, 0);
    while ((await counted("groups")) < warmUp * GROUPS_A_MESSAGE) await systemClock.sleep(20);
    // Confined they leave most of what is published to be measured; else they wait until all is there.
    const held = hold(pids);
    const stopped = held.length === 0 ? pids : [];
    for (const pid of stopped) process.kill(pid, "SIGSTOP");
    const begun = performance.now();
    await publish(topic, messages, warmUp);
    const tookMs = performance.now() - begun;
    if (stopped.length > 0 && tookMs > PUBLISH_WITHIN_MS)
      console.error(`publishing took ${Math.round(tookMs)} ms: bridges may have lost their places`);
    for (const pid of stopped) process.kill(pid, "SIGCONT");
    const share = (part: number) => (warmUp + messages * part) * GROUPS_A_MESSAGE;
    const [from, most] = [share(0.1), share(0.7)];
    // With more done some might have none left, since the partitions' shares are not quite even.
    const done = (count: number, ms: number) => count >= most || ms >= options.seconds * 1_000;
    const others = { store: server.pid, broker: kafka.nodes[0]?.pid, benchmark: process.pid };
    return measureRate({ counted: () => counted("groups"), from, done, pids, held, others });
  });

const completed = (workers: number) =>
  scene(async ({ topic, env, start, hold, releases }): Promise<Rate> => {
    const provider = await startProvider(providerUrl, env);
    releases.push(() => provider.stop());
    const [bridge] = await start("bridge", 1);
    const total = options.messages * GROUPS_A_MESSAGE;
    await publish(topic, options.messages, 0);
    while ((await counted("groups")) < total) await systemClock.sleep(50);
    const pids = await start("worker", workers);
    while ((await counted("assessed")) === 0) await systemClock.sleep(20);
    await systemClock.sleep(options.warmUpSeconds * 1_000);
    const held = hold(pids);
    if (shares) await systemClock.sleep(CONFINED_MS);
    const parts = { store: server.pid, broker: kafka.nodes[0]?.pid, bridge, provider: provider.pid };
    const done = (_: number, ms: number) => ms >= options.seconds * 1_000;
    const others = { ...parts, benchmark: process.pid };
    const rate = await measureRate({ counted: () => counted("assessed"), from: 0, done, pids, held, others });
    if ((await counted("assessed")) === total)
      throw new Error("all was completed before the end: give more --messages");
    return rate;
  });

const VARIANTS: Record<string, () => Promise<Rate>> = {
  "bridges-1": () => admitted(1),
  "bridges-2": () => admitted(2),
  "bridges-3": () => admitted(3),
  "workers-1": () => completed(1),
  "workers-2": () => completed(2),
  "workers-3": () => completed(3),
};

try {
  const results = await interleave(VARIANTS, options);
  report("bridge-scale", rateFigures(results), { ...options, coreShare, cores: availableParallelism() });
} finally {
  redis.disconnect();
  await Promise.all([images.stop(), log.stop(), tools.stop()]);
  await Promise.all([kafka.stop(), server.stop()]);
  rmSync(folder, { recursive: true, force: true });
}

function coreSharesOrEnd() {
  try {
    return findCoreShares();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(2);
  }
}
