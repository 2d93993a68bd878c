/** `vigilane up`: everything that is needed on this machine, until it is stopped or, with --for, so many seconds long. */
import { writeFileSync } from "node:fs";
import type { Redis } from "ioredis";
import { ensureKafkaJars, KAFKA_VERSION } from "../assets/kafka-jars.ts";
import { policyOf, readCameras } from "../cameras.ts";
import { loadSettings } from "../config.ts";
import { type Context, systemClock } from "../context.ts";
import { type ErrorCode, explain, type VigilaneError } from "../errors.ts";
import { refuseOpenHost } from "../gateway/auth.ts";
import { askS3 } from "../images/s3-image-store.ts";
import { fewKeysWarning, type KeySet, loadKeySet } from "../keys/load-key-set.ts";
import type { KeyGroup } from "../queues/key-groups.ts";
import { imagePlace } from "../roles/open-image-store.ts";
import type { Settings } from "../settings.ts";
import { connectStore } from "../store.ts";
import { dayCapWarnings, pageUrl, readyLine } from "../supervisor/announcement.ts";
import { type Audit, createAudit } from "../supervisor/audit.ts";
import { offeredByCameras, quotaWarning } from "../supervisor/capacity.ts";
import { type DataLock, lockData } from "../supervisor/data-lock.ts";
import { refuseRunningKafka } from "../supervisor/kafka-lock.ts";
import { type OwnKafka, refuseOwnKafka, startOwnKafka } from "../supervisor/own-kafka.ts";
import { camerasFile, prefetch } from "../supervisor/prefetch.ts";
import { refuseEndlessReport } from "../supervisor/refused-settings.ts";
import { faultsOf, showReport } from "../supervisor/report.ts";
import { removeRunFile, writeRunFile } from "../supervisor/run-file.ts";
import { statusLine } from "../supervisor/status-line.ts";
import { onStopSignals } from "../supervisor/stop-signals.ts";
import { createSupervisor, rolesFor, type Supervisor } from "../supervisor/supervisor.ts";
import { processTerminal, type Terminal } from "../supervisor/terminal.ts";
import { askKafka } from "../topics/ask-kafka.ts";
import { kafkaConnectionOf } from "../topics/kafka-connection.ts";
import { openTopicLog } from "../topics/open-topic-log.ts";

const STATUS_EVERY_MS = 15_000;
const DEMO_CAMERAS = 4;
const READYZ_MS = 8_000;

/** Resolves with the exit code when everything has been stopped. */
export async function up(argv: readonly string[]): Promise<number> {
  const { settings } = loadSettings(argv);
  const terminal = processTerminal(settings);
  const context: Context = { clock: systemClock, log: terminal.log };
  refuseOpenHost(settings);
  refuseEndlessReport(settings);
  refuseOwnKafka(settings);
  const images = imagePlace(settings);
  // A role alone waits for its broker and its images' server; who starts everything is told at once.
  if (settings.kafkaBrokers.length > 0) await askKafka(kafkaConnectionOf(settings), context);
  if (images.kind === "s3") await askS3(images);
  const { set, needsProvider } = await readKeys(settings); // reports its faults before anything is started
  const file = camerasFile(settings);
  if (file !== undefined) settings.cameras = file; // the roles read the same one
  const cameras = file === undefined ? undefined : readCameras(file);
  const roles = rolesFor(settings, needsProvider);
  const lock = await lockData(settings.data, context);
  try {
    if (settings.kafka === "local") await refuseRunningKafka(settings.data, context);
    sayKeys(set, terminal);
    if (roles.includes("detector")) {
      const intervals = cameras?.map((c) => c.frameIntervalMs ?? settings.frameIntervalMs);
      const demo = Array.from({ length: settings.source ? 1 : DEMO_CAMERAS }, () => settings.frameIntervalMs);
      const warning = quotaWarning(set.groups, offeredByCameras(intervals ?? demo));
      if (warning) terminal.say(warning);
    }
    return await runAll(settings, roles, set.groups, cameras, terminal, lock, context);
  } finally {
    await lock.release();
  }
}

/** Stands for the simulated provider's address until it has one. */
const NO_PROVIDER_YET = "http://provider.invalid";

/** `needsProvider`: some group is simulated, and nobody has said where its provider is. */
async function readKeys(settings: Settings): Promise<{ set: KeySet; needsProvider: boolean }> {
  const set = await loadKeySet({ ...settings, simulatorUrl: settings.simulatorUrl ?? NO_PROVIDER_YET });
  return { set, needsProvider: set.groups.some((group) => group.baseUrl.startsWith(NO_PROVIDER_YET)) };
}

function sayKeys(set: KeySet, terminal: Terminal): void {
  if (set.file === undefined) {
    terminal.say("No key is configured: a simulated provider judges, and every verdict is marked as simulated.");
    return;
  }
  for (const notice of set.notices) terminal.say(notice);
  const few = fewKeysWarning(set);
  if (few) terminal.say(few);
}

type Cameras = ReturnType<typeof readCameras>;

async function runAll(
  settings: Settings,
  roles: ReturnType<typeof rolesFor>,
  groups: readonly KeyGroup[],
  cameras: Cameras | undefined,
  terminal: Terminal,
  lock: DataLock,
  context: Context,
): Promise<number> {
  const stopAsked = Promise.withResolvers<"stopped">();
  const failed = Promise.withResolvers<VigilaneError>();
  let audit: Audit | undefined;
  let supervisor: Supervisor | undefined;
  let kafka: OwnKafka | undefined;
  const offSignals = onStopSignals(
    () => {
      if (!supervisor) process.exit(130); // only downloads and perhaps a broker run: they go on where they were
      terminal.say("Stopping (once more: at once) …");
      stopAsked.resolve("stopped");
    },
    () => {
      supervisor?.killAll();
      process.exit(130);
    },
  );
  try {
    const step = (text: string) => terminal.step("detector", text);
    const env = roles.includes("detector") ? await prefetch(settings, context, step) : {};
    if (settings.kafka === "local") {
      kafka = await startKafkaHere(settings, terminal, failed.resolve, context);
      settings.kafkaBrokers = [...kafka.brokers];
    }
    const startAudit = async (url: string) => {
      audit = makeAudit(settings, url, cameras, context);
      await audit.start();
    };
    supervisor = createSupervisor(
      settings,
      {
        roles,
        env,
        onLine: (_instance, role, line) => terminal.roleLine(role, line),
        onStep: (role, text) => terminal.step(role, text),
        onFailed: failed.resolve,
        // Before the first frame, so that none is missed.
        beforeRole: async (role, { redisUrl = "" }) => {
          if (role === "detector" && settings.for !== undefined) await startAudit(redisUrl);
        },
      },
      context,
    );
    const started = await Promise.race([supervisor.start().then(() => "ready" as const), stopAsked.promise]);
    if (started === "stopped") return 0;
    if (settings.for !== undefined && !audit) await startAudit(supervisor.settings.redisUrl ?? "");
    if (roles.includes("gateway")) await gatewayReady(supervisor.settings, terminal, context);
    for (const warning of dayCapWarnings(settings, groups, supervisor.store)) terminal.say(warning);
    announce(supervisor, roles, lock, terminal);
    const stopStatus = startStatus(supervisor.settings.redisUrl ?? "", terminal, context);
    try {
      const time = settings.for === undefined ? new Promise<never>(() => {}) : sleepFor(settings.for, context);
      const end = await Promise.race([stopAsked.promise, failed.promise, time]);
      if (typeof end === "object") return reportFailure(end, terminal);
      if (!audit) return 0;
      return await drainAndReport(
        audit,
        supervisor,
        settings,
        terminal,
        Promise.race([stopAsked.promise, failed.promise]),
        end,
      );
    } finally {
      stopStatus();
    }
  } finally {
    removeRunFile(settings.data);
    await Promise.all([audit?.stop(), supervisor?.stop()]);
    await kafka?.stop();
    offSignals();
    terminal.say("Stopped.");
  }
}

async function startKafkaHere(
  settings: Settings,
  terminal: Terminal,
  onFailed: (error: VigilaneError) => void,
  context: Context,
): Promise<OwnKafka> {
  // Here its download can show its progress on the terminal.
  await ensureKafkaJars(settings.cache, context);
  const onLine = (line: string) => terminal.roleLine("kafka", line);
  const kafka = await startOwnKafka(settings, { onLine, onFailed }, context);
  terminal.step("kafka", `Apache Kafka ${KAFKA_VERSION} on ${kafka.brokers.join(", ")}: the topics are there`);
  return kafka;
}

function makeAudit(settings: Settings, redisUrl: string, cameras: Cameras | undefined, context: Context): Audit {
  const topics = openTopicLog(settings, redisUrl, context);
  return createAudit(
    { redisUrl, topics, freshnessSeconds: (id) => policyOf(id, cameras ?? [], settings).freshnessSeconds },
    context,
  );
}

/** Until the gateway itself says that every role is ready: their first heartbeats are on their way. */
async function gatewayReady(settings: Settings, { log }: Terminal, { clock }: Context): Promise<void> {
  const byMs = clock.monotonicMs() + READYZ_MS;
  const url = `${pageUrl(settings)}/readyz`;
  while (clock.monotonicMs() < byMs) {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok) return;
    await clock.sleep(100);
  }
  log.warn({ url }, "the gateway does not say that every role is ready");
}

/** run.json, the lock's answer, and the one line with the page's address. */
function announce(supervisor: Supervisor, roles: readonly string[], lock: DataLock, terminal: Terminal): void {
  const { data, redisUrl = "", kafkaBrokers, s3Bucket = null } = supervisor.settings;
  const gatewayUrl = roles.includes("gateway") ? pageUrl(supervisor.settings) : null;
  const startedAt = new Date(systemClock.nowMs()).toISOString();
  writeRunFile(data, { pid: process.pid, redisUrl, kafkaBrokers, s3Bucket, gatewayUrl, startedAt });
  lock.tell({ pid: process.pid, url: gatewayUrl });
  terminal.say(
    gatewayUrl === null
      ? `vigilane is ready: ${roles.join(", ")} run here.`
      : readyLine(supervisor.settings, gatewayUrl),
  );
}

/** Returns what ends it. */
function startStatus(redisUrl: string, terminal: Terminal, context: Context): () => void {
  const end = new AbortController();
  const run = async () => {
    let redis: Redis | undefined;
    try {
      redis = await connectStore(redisUrl, context, { enableOfflineQueue: false });
      while (!end.signal.aborted) {
        await context.clock.sleep(STATUS_EVERY_MS, end.signal);
        const line = await statusLine(redis, context.clock.nowMs()).catch(
          () => "the store is away; everything waits for it",
        );
        if (!end.signal.aborted) terminal.say(line);
      }
    } catch {
      // aborted
    } finally {
      redis?.disconnect();
    }
  };
  void run();
  return () => end.abort();
}

async function sleepFor(seconds: number, { clock }: Context): Promise<"time"> {
  await clock.sleep(seconds * 1000);
  return "time";
}

async function drainAndReport(
  audit: Audit,
  supervisor: Supervisor,
  settings: Settings,
  terminal: Terminal,
  interrupted: Promise<unknown>,
  why: "time" | "stopped",
): Promise<number> {
  if (why === "time") terminal.say("The time is over: the detector stops, and every group gets its outcome …");
  await supervisor.stopRole("detector");
  // A stop that was asked for still reports, but waits for nothing.
  await Promise.race([audit.drain(), why === "time" ? interrupted : Promise.resolve()]);
  const report = audit.report();
  terminal.say(showReport(report));
  if (settings.report) writeFileSync(settings.report, `${JSON.stringify(report, null, 2)}\n`);
  if (why === "stopped") return 0;
  const faults = faultsOf(report);
  if (report.lost > 0) terminal.say(`Lost, for example: ${audit.someLost().join(", ")}`);
  if (faults.length > 0) terminal.say(`Failed: ${faults.join("; ")}.`);
  return faults.length > 0 ? 1 : 0;
}

function reportFailure(error: VigilaneError, terminal: Terminal): number {
  const code: ErrorCode = error.code;
  terminal.log.fatal({ code }, explain(error));
  return 1;
}
