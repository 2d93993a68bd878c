/** The schema of all settings: meaning, unit, default and special values of each, said once here. */
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { kafkaSecuritySettings } from "./kafka-security-settings.ts";
import { flag, list, number } from "./setting-values.ts";
import { topicNameSettings } from "./topic-names.ts";

export const ROLES = ["store", "provider", "detector", "bridge", "worker", "results", "gateway"] as const;
export type Role = (typeof ROLES)[number];

const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;

/** A host's name or address as a Host header has it, with or without a port: cams.example.org, [::1]:8800. */
export const HOST_NAME = /^(\[[0-9a-f:.]+\]|[^:/?#@[\]\s]+)(:\d{1,5})?$/i;

const isPort = (text: string | undefined) => Number(text) >= 1 && Number(text) <= 65_535;

/** Cache for downloads, outside any repository: XDG on Linux and others, the system's own places on macOS and Windows. */
export function defaultCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, "vigilane");
  if (process.platform === "win32" && env.LOCALAPPDATA) return join(env.LOCALAPPDATA, "vigilane", "cache");
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches", "vigilane");
  return join(homedir(), ".cache", "vigilane");
}

/**
 * Each setting: meaning, unit, default and special values, said once here: `--help` shows these words. The flag is the
 * name in kebab case; the variable VIGILANE_ and the name in capitals.
 */
export const Settings = z.object({
  data: z
    .string()
    .min(1)
    .default("./data")
    .describe("Folder of everything that this machine keeps: store, images, token, lock. Default ./data."),
  cache: z
    .string()
    .min(1)
    .default(() => defaultCacheFolder())
    .describe(
      "Where downloads (model, demo footage, ffmpeg) are kept. Default: the system's cache folder + /vigilane.",
    ),
  port: number()
    .pipe(z.number().int().min(0).max(65_535))
    .default(8800)
    .describe("TCP port of the gateway. Default 8800; 0: any free one."),
  host: z
    .string()
    .min(1)
    .default("127.0.0.1")
    .describe(
      "Address the gateway listens on. Default 127.0.0.1. Another one than loopback needs VIGILANE_TOKEN, also to look.",
    ),
  allowedHosts: list()
    .pipe(z.array(z.string().regex(HOST_NAME, "host names only (cams.example.org), without https:// and path")))
    .default([])
    .describe("Names under which the gateway may be asked for, besides loopback's. Default none."),
  token: z
    .string()
    .min(16, "has fewer than 16 characters")
    .optional()
    .describe(
      "Token for state-changing calls. Default: made at first start and kept in the data folder's file `token`.",
    ),
  roles: list()
    .pipe(z.array(z.enum(ROLES)))
    .optional()
    .describe("Which roles run here. Default: all that are needed."),
  redisUrl: z
    .url({ protocol: /^rediss?$/ })
    .optional()
    .describe("Redis to use instead of starting a store. Default: none, a store is started."),
  store: z
    .enum(["auto", "redis", "wasm"])
    .default("auto")
    .describe(
      "How the store that we start ourselves runs: redis (redis-server or valkey-server on the PATH), wasm (in memory), or auto: redis when it is there.",
    ),
  kafkaBrokers: list()
    .pipe(
      z.array(
        z
          .string()
          .regex(/^[^\s:/]+:\d{1,5}$|^\[[0-9a-f:.]+\]:\d{1,5}$/i, "has to be host:port")
          .refine((broker) => isPort(/\d+$/.exec(broker)?.[0]), "has to be host:port, with a port of 1 to 65535"),
      ),
    )
    .default([])
    .describe(
      "Kafka or Redpanda brokers (host:port,host:port) that keep the topics; some of them are enough. Default none: the topics are in the store.",
    ),
  kafka: z
    .enum(["local"])
    .optional()
    .describe(
      "local: `vigilane up` starts a Kafka broker on this machine and keeps the topics there (needs Java; `kafka-local --help`). Default: no broker is started.",
    ),
  kafkaPartitioner: z
    .enum(["murmur2", "crc32"])
    .default("murmur2")
    .describe(
      "How a camera's partition is chosen when we write to Kafka: murmur2, as Java's producers do, or crc32, as librdkafka's (and so the older Python producers) do. Default murmur2.",
    ),
  kafkaCompression: z
    .enum(["none", "gzip", "snappy", "lz4", "zstd"])
    .default("none")
    .describe("Compression of what we write to Kafka; all of them are read. Default none."),
  kafkaExactlyOnce: flag()
    .default(true)
    .describe(
      "Results are written to Kafka in transactions, each outcome once for readers of committed messages (librdkafka's default). Default true; false: plain sends, quicker, and after a crash one may come twice.",
    ),
  ...kafkaSecuritySettings,
  ...topicNameSettings,
  assessmentTasks: z
    .enum(["off", "write", "read"])
    .default("off")
    .describe(
      "What the bridge has to do with the topic assessment-tasks: off (it judges what detection-results bring), write (it leaves groups to those who read tasks, see assessmentTasksShare) or read (it judges what the tasks bring, and leaves detection-results to those who write tasks). Default off.",
    ),
  assessmentTasksShare: number()
    .pipe(z.number().min(0).max(1))
    .default(1)
    .describe(
      "Of which share of the cameras, 0 to 1, the groups are left to those who read assessment-tasks, where the bridge writes them; the others' it judges. A camera's place is a hash of its id: a larger share only adds some. Default 1: all.",
    ),
  inlineImages: flag()
    .default(false)
    .describe(
      "Crops stand in our messages themselves (base64), in detection-results and assessment-tasks, for older readers, which cannot look into our image store. Default false: references.",
    ),
  cameras: z
    .string()
    .optional()
    .describe(
      "File of cameras (config/cameras.example.yaml). Default config/cameras.yaml where there is one, else the demo's four.",
    ),
  source: z
    .string()
    .optional()
    .describe("One camera: a file, rtsp://, http(s):// (MJPEG, HLS), a folder of images, /dev/videoN."),
  keys: z
    .string()
    .optional()
    .describe(
      "File of key groups (config/keys.example.yaml). Default config/keys.yaml where there is one, else the simulated provider.",
    ),
  frameIntervalMs: number()
    .pipe(z.number().min(40).max(3_600_000))
    .default(1000)
    .describe("Look at each camera every so many milliseconds, where the camera says nothing else. Default 1000."),
  freshnessSeconds: number()
    .pipe(z.number().min(0).max(3600))
    .default(10)
    .describe(
      "Seconds after capture for which a verdict is worth having, where the camera says nothing else. Default 10; 0: nothing expires and nothing is superseded.",
    ),
  reuseSeconds: number()
    .pipe(z.number().min(0).max(3600))
    .default(0)
    .describe(
      "A group that looks as it did (the same tracks, a near-equal crop) gets its last verdict again for so many seconds, where the camera says nothing else; then it is judged anew. Default 0: every group is judged.",
    ),
  model: z
    .string()
    .default("yolo11n")
    .describe("Detector's model, by name in the model table, or the path of an ONNX file. Default yolo11n."),
  detectorThreads: number()
    .pipe(z.number().int().min(1).max(64))
    .optional()
    .describe("Detector's worker threads. Default: one for each core."),
  callTimeoutSeconds: number()
    .pipe(z.number().min(1).max(600))
    .default(8)
    .describe("Seconds that one call of the LLM may take at most; the task's deadline may make it shorter. Default 8."),
  maxAttempts: number()
    .pipe(z.number().int().min(1).max(10))
    .default(3)
    .describe(
      "Refused, failed or timed-out calls after which a task is given up; the re-ask after an unreadable answer is not among them. Default 3.",
    ),
  maxWaiting: number()
    .pipe(z.number().int().min(1).max(1_000_000))
    .default(5000)
    .describe("Most tasks in the waiting room; beyond it the least urgent one expires (room_full). Default 5000."),
  maxOutbox: number()
    .pipe(z.number().int().min(1).max(10_000_000))
    .default(50_000)
    .describe(
      "Results that may wait in the store while they cannot be written to their topic; beyond it nothing new is admitted until half of them are written. What was admitted before still comes to its end (maxWaiting). Default 50000.",
    ),
  callsPerDay: number()
    .pipe(z.number().int().min(0))
    .optional()
    .describe(
      "Calls a day over all real keys until you set a number of your own; unset with real keys: 200, said at start. 0: no cap.",
    ),
  imagesMaxBytes: number()
    .pipe(z.number().int().min(1_000_000))
    .default(2 * 1024 ** 3)
    .describe("Bytes that crops may take, on disk or on S3. Default 2 GiB."),
  s3Bucket: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "is no bucket's name: 3 to 63 of a-z, 0-9, dots and hyphens")
    .optional()
    .describe(
      "Bucket of an S3 server that keeps the crops, for several machines; it has to be there. Default none: they are in the data folder.",
    ),
  s3Endpoint: z
    .url({ protocol: /^https?$/ })
    .refine((url) => !/[@?#]/.test(url), "has to be an address alone, without user, password and query")
    .optional()
    .describe("Address of the S3 server (https://s3.example.org). Default: AWS' own of the region."),
  s3Region: z
    .string()
    .min(1)
    .default("us-east-1")
    .describe("Region that the S3 server counts the bucket to. Default us-east-1, as most servers of one's own do."),
  s3AccessKeyId: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Id of the key for the bucket: it has to list, read, write and delete there. Default: what AWS' own chain finds (its variables, its profile, the machine's role).",
    ),
  s3SecretAccessKey: z
    .string()
    .min(1)
    .optional()
    .describe("The key's secret, or file:/path of the file that holds it. Needs s3AccessKeyId."),
  s3PathStyle: flag()
    .optional()
    .describe(
      "Whether the bucket stands in the path (endpoint/bucket/…) or in the host's name (bucket.endpoint/…, which then needs such a name). Default: in the path where s3Endpoint is set.",
    ),
  topicRetentionHours: number()
    .pipe(z.number().min(0.01).max(168))
    .default(1)
    .describe("Hours for which the topics keep messages. Default 1."),
  topicMaxBytes: number()
    .pipe(z.number().int().min(1_000_000))
    .default(256 * 1024 ** 2)
    .describe("Bytes that one topic may take in the store. Default 256 MiB."),
  olderConsumers: flag()
    .default(false)
    .describe(
      "Older consumers of the same results topic are there: revisions go to their own topic, outcomes without a call wait for `detection:<id>`. Default false.",
    ),
  olderRedis: z
    .enum(["none", "detections", "all"])
    .default("none")
    .describe(
      "Which of the older system's Redis keys are written: none, detections (detection:<messageId> by our detector, for an older aggregator) or all (also camera:<id>:latest, the channel camera:<id> and alerts:<id> by the results role, in the aggregator's place). About 100 kB a frame for 300 s. Default none.",
    ),
  olderRedisUrl: z
    .url({ protocol: /^rediss?$/ })
    .optional()
    .describe(
      "Redis of the older system (its own is redis://localhost:6379), for olderRedis and for where olderConsumers looks for detection:<id>. Default: the store.",
    ),
  simulatorUrl: z
    .url()
    .optional()
    .describe("Base URL of the simulated provider; set by the supervisor for the other roles."),
  simulator: z
    .string()
    .optional()
    .describe(
      "What the simulated provider does; see config/simulator.example.yaml. Default: ten accounts of 5 calls a second.",
    ),
  logLevel: z.enum(LOG_LEVELS).default("info").describe("trace to fatal, or silent. Default info."),
  logFormat: z
    .enum(["pretty", "json"])
    .default("pretty")
    .describe(
      "How log lines are shown: pretty (for people) or json (one object a line, for machines). Default pretty.",
    ),
  aliveFile: z
    .string()
    .optional()
    .describe(
      "File that a role by itself touches each second while it works: a container's health check. Default none.",
    ),
  for: number()
    .pipe(z.number().min(1))
    .optional()
    .describe("Run so many seconds, drain, report and leave. Default: run until stopped."),
  report: z.string().optional().describe("Write the report to this file as JSON. Needs for; `load` always has an end."),
});
export type Settings = z.infer<typeof Settings>;
