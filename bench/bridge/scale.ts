/**
 * What more processes bring: groups a second that one, two and three bridges admit, and that one and two workers complete.
 *
 *     node bench/bridge/scale.ts [--rounds 3] [--seconds 5] [--warm-up 2] [--messages 6000] [--only bridges-1,…,workers-2]
 *
 * Bridges: the real roles on a local Kafka (one node, needs Java; 16 partitions), stopped (SIGSTOP) while the messages of two
 * groups are published, then woken; measured from the first to the last tenth, with nothing else at work but broker and store.
 * Workers: one bridge that has admitted everything, a simulated provider without any limits (answers after 200 ms), completions
 * counted in the store. The redis-server syncs each write.
 *
 * What a process takes of the CPU is told beside each rate, in cores: where they add up to all cores there are, more processes
 * cannot bring more, and the groups for each of their CPU-seconds say what a core more would.
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
import { aCrop, groupsOf, secretOf } from "../quota/engine.ts";
import { cpuMicros } from "../quota/process-cpu.ts";
import { startProvider } from "../quota/provider-process.ts";
import { type Figure, quantile, report } from "../quota/report.ts";
import { startRole } from "../quota/role-process.ts";
import { interleave, readOptions } from "../quota/rounds.ts";
import { detectionMessages } from "./detections.ts";

const PARTITIONS = 16;
const GROUPS_A_MESSAGE = 2;
/** Of the messages; a member that is stopped longer than 6 s loses its place. */
const PUBLISH_WITHIN_MS = 4_500;
/** Until the partitions are shared, once all are members. */
const SHARED_MS = 1_500;
/** Enough for any machine, so that nothing waits for quota. */
const CALLS_A_SECOND = 1_000;
const ANSWER_MS = 200;
const PUBLISHED_AT_ONCE = 500;

const given = readOptions({ messages: 6_000 }, 2);
const options = { ...given, rounds: given.rounds === 5 ? 3 : given.rounds };
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
      ...{ id, provider: "simulated", windows: { requestsPerSecond: CALLS_A_SECOND } },
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

const total = options.messages * GROUPS_A_MESSAGE;

interface Measured {
  /** Groups a second. */
  perSecond: number;
  /** Of each of the processes that are counted, in cores. */
  cores: number[];
  /** Of whoever else had to do with it. */
  others: Record<string, number>;
}

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
  try {
    await log.ensureTopic(topic);
    return await work({ topic, env, start, releases });
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
  releases: (() => Promise<void>)[];
}

const counted = async (what: string) => Number((await redis.hget(KEYS.counters, what)) ?? 0);

async function publish(topic: string): Promise<void> {
  const messages = detectionMessages(options.messages, { groups: GROUPS_A_MESSAGE, imageUrl });
  const calls = [];
  for (let i = 0; i < messages.length; i += PUBLISHED_AT_ONCE)
    calls.push(log.publish(topic, messages.slice(i, i + PUBLISHED_AT_ONCE)));
  await Promise.all(calls);
}

/** Counts from `from` on until `done`, and the CPU meanwhile. */
async function measure(
  what: string,
  from: number,
  done: (count: number, ms: number) => boolean,
  pids: readonly number[],
  others: Record<string, number | undefined>,
): Promise<Measured> {
  const named = Object.entries(others).flatMap(([name, pid]) => (pid ? [{ name, pid }] : []));
  const all = [...pids, ...named.map(({ pid }) => pid)];
  const cpu = () => all.map((pid) => cpuMicros([pid]));
  let count = await counted(what);
  for (; count < from; count = await counted(what)) await systemClock.sleep(5);
  const [before, first, begun] = [cpu(), count, performance.now()];
  for (; !done(count, performance.now() - begun); count = await counted(what)) await systemClock.sleep(10);
  const ms = performance.now() - begun;
  const cores = cpu().map((micros, i) => Number(((micros - (before[i] ?? 0)) / 1_000 / ms).toFixed(2)));
  return {
    perSecond: Math.round(((count - first) / ms) * 1_000),
    cores: cores.slice(0, pids.length),
    others: Object.fromEntries(named.map(({ name }, i) => [name, cores[pids.length + i] ?? 0])),
  };
}

const admitted = (bridges: number) =>
  scene(async ({ topic, start }): Promise<Measured> => {
    const pids = await start("bridge", bridges);
    const consumers = async () =>
      (await tools.groups(topic)).find(({ group }) => group === CONSUMER_GROUPS.bridge)?.consumers.length ?? 0;
    while ((await consumers()) < bridges) await systemClock.sleep(100);
    await systemClock.sleep(SHARED_MS);
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    const begun = performance.now();
    await publish(topic);
    const tookMs = performance.now() - begun;
    if (tookMs > PUBLISH_WITHIN_MS)
      console.error(`publishing took ${Math.round(tookMs)} ms: bridges may have lost their places`);
    for (const pid of pids) process.kill(pid, "SIGCONT");
    const enough = (count: number) => count >= total * 0.9;
    return measure("groups", total / 10, enough, pids, { store: server.pid, broker: kafka.nodes[0]?.pid });
  });

const completed = (workers: number) =>
  scene(async ({ topic, env, start, releases }): Promise<Measured> => {
    const provider = await startProvider(providerUrl, env);
    releases.push(() => provider.stop());
    const [bridge] = await start("bridge", 1);
    await publish(topic);
    while ((await counted("groups")) < total) await systemClock.sleep(50);
    const pids = await start("worker", workers);
    while ((await counted("assessed")) === 0) await systemClock.sleep(20);
    await systemClock.sleep(options.warmUpSeconds * 1_000);
    const others = { store: server.pid, broker: kafka.nodes[0]?.pid, bridge, provider: provider.pid };
    const enough = (_: number, ms: number) => ms >= options.seconds * 1_000;
    const measured = await measure("assessed", 0, enough, pids, others);
    if ((await counted("assessed")) === total)
      throw new Error("all was completed before the end: give more --messages");
    return measured;
  });

const VARIANTS: Record<string, () => Promise<Measured>> = {
  "bridges-1": () => admitted(1),
  "bridges-2": () => admitted(2),
  "bridges-3": () => admitted(3),
  "workers-1": () => completed(1),
  "workers-2": () => completed(2),
};

try {
  const results = await interleave(VARIANTS, options);
  const median = (name: string) =>
    quantile(
      (results.get(name) ?? []).map(({ perSecond }) => perSecond).toSorted((a, b) => a - b),
      0.5,
    );
  const figures = [...results].flatMap(([row, runs]): Figure[] => {
    const one = `${row.split("-")[0]}-1`;
    const sum = ({ cores }: Measured) => cores.reduce((a, b) => a + b, 0);
    const names = Object.keys(runs[0]?.others ?? {});
    return [
      { row, what: "groups a second", values: runs.map(({ perSecond }) => perSecond) },
      ...(row === one || !results.has(one)
        ? []
        : [{ row, what: "÷ that of one", values: [median(row) / median(one)] }]),
      { row, what: "cores that each of them takes, mean", values: runs.map((run) => sum(run) / run.cores.length) },
      { row, what: "groups for a CPU-second of theirs", values: runs.map((run) => run.perSecond / sum(run)) },
      ...names.map((name) => ({ row, what: `cores, ${name}`, values: runs.map(({ others }) => others[name] ?? 0) })),
      {
        ...{ row, what: "cores, all of these" },
        values: runs.map((run) => sum(run) + Object.values(run.others).reduce((a, b) => a + b, 0)),
      },
    ];
  });
  report("bridge-scale", figures, { ...options, cores: availableParallelism() });
} finally {
  redis.disconnect();
  await Promise.all([images.stop(), log.stop(), tools.stop()]);
  await Promise.all([kafka.stop(), server.stop()]);
  rmSync(folder, { recursive: true, force: true });
}
