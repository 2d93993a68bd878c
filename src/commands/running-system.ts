/** Where the running vigilane is, for commands that ask it from outside. */
import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";
import { readRunFile } from "../supervisor/run-file.ts";

export interface RunningSystem {
  /** With the running system's store and brokers. */
  settings: Settings;
  /** It runs on this very data folder, so that images put there are found by it. */
  here: boolean;
}

/**
 * REDIS_URL, else what runs on the data folder; undefined: neither. Brokers that are set stay those that are set. Throws
 * SETTINGS_INVALID where the one that runs here keeps its crops elsewhere.
 */
export function runningSystem(settings: Settings): RunningSystem | undefined {
  const run = readRunFile(settings.data);
  const { redisUrl = run?.redisUrl } = settings;
  if (redisUrl === undefined) return undefined;
  const here = run?.redisUrl === redisUrl;
  // The key for the bucket is noted nowhere, so it cannot be taken from there.
  if (here && run.s3Bucket !== (settings.s3Bucket ?? null)) {
    throw new VigilaneError(
      "SETTINGS_INVALID",
      `the vigilane that runs on ${settings.data} keeps its crops in ${run.s3Bucket === null ? "the data folder" : `the S3 bucket ${run.s3Bucket}`}, and these settings name ${settings.s3Bucket ?? "no bucket"}`,
      { remedy: "Give it the same s3… settings." },
    );
  }
  const kafkaBrokers = here && settings.kafkaBrokers.length === 0 ? run.kafkaBrokers : settings.kafkaBrokers;
  return { settings: { ...settings, redisUrl, kafkaBrokers }, here };
}

/** Throws SETTINGS_INVALID, which says what to do. */
export function nothingRuns(settings: Settings): never {
  throw new VigilaneError(
    "SETTINGS_INVALID",
    `no vigilane runs on the data folder ${settings.data}, and there is no REDIS_URL`,
    { remedy: "Start it first (`npm start`), or give --data or --redis-url of the one that runs." },
  );
}
