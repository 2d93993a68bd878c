/** What everything that logs or waits is handed: no bare Date.now(), setTimeout or console in logic. */
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { type Logger, pino } from "pino";

export type { Logger };

export interface Clock {
  /** Wall clock, ms since the epoch. For stamps that other processes read; never compared with another machine's. */
  nowMs(): number;
  /** Monotonic, ms. For durations and time-outs inside this process. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted before. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Context {
  clock: Clock;
  log: Logger;
}

export const systemClock: Clock = {
  nowMs: () => performance.timeOrigin + performance.now() + wallClockDriftMs(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) => wait(Math.max(0, ms), undefined, signal ? { signal } : {}),
};

/** performance.now() has fractions of a millisecond but does not follow a corrected wall clock: this is the difference. */
function wallClockDriftMs(): number {
  const driftMs = Date.now() - (performance.timeOrigin + performance.now());
  return Math.abs(driftMs) > 2 ? driftMs : 0;
}

/** Fields whose values never reach a log line, at any depth that we log. */
const SECRET_PATHS = [
  "secret",
  "apiKey",
  "authorization",
  "token",
  "password",
  "passphrase",
  "kafkaPassword",
  "kafkaKeyPassphrase",
  "secretAccessKey",
  "s3SecretAccessKey",
  "headers.authorization",
  "*.secret",
  "*.apiKey",
  "*.authorization",
  "*.token",
  "*.password",
  "*.passphrase",
  "*.kafkaPassword",
  "*.kafkaKeyPassphrase",
  "*.secretAccessKey",
  "*.s3SecretAccessKey",
];

const LONGEST_MESSAGE = 1_000;
const LONGEST_STACK = 4_000;
const MOST_CAUSES = 5;

/**
 * An error as a log line holds it: its own words, codes and causes, and of what else hangs on it plain values alone. ioredis
 * hangs the whole command on an error, arguments and all: task data by the hundred kilobytes.
 */
function errorToLog(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return typeof error === "string" ? cut(error, LONGEST_MESSAGE) : error;
  const plain = Object.entries(error)
    .filter(([, value]) => value === null || ["string", "number", "boolean"].includes(typeof value))
    .map(([name, value]) => [name, typeof value === "string" ? cut(value, LONGEST_MESSAGE) : value]);
  const message = cut(error.message, LONGEST_MESSAGE);
  const stack = error.stack?.replace(error.message, () => message) ?? "";
  const more = (inner: unknown) => (depth < MOST_CAUSES ? errorToLog(inner, depth + 1) : "…");
  const { previousErrors } = error as { previousErrors?: unknown }; // of a pipeline or a script, by ioredis
  const others = error instanceof AggregateError ? error.errors : Array.isArray(previousErrors) ? previousErrors : [];
  return {
    ...Object.fromEntries(plain),
    type: error.name,
    message,
    stack: cut(stack, LONGEST_STACK),
    ...(error.cause === undefined ? {} : { cause: more(error.cause) }),
    ...(others.length === 0 ? {} : { others: others.slice(0, MOST_CAUSES).map(more) }),
  };
}

const cut = (text: string, most: number) => (text.length > most ? `${text.slice(0, most)}…` : text);

/** JSON lines to stdout (the supervisor reads and shows them), or to `destination`. `level`: pino's, or "silent". */
export function createLogger(role: string, level: string, destination?: { write(line: string): void }): Logger {
  const options = {
    level,
    base: { role, pid: process.pid },
    redact: { paths: SECRET_PATHS, censor: "[redacted]" },
    serializers: { err: (error: unknown) => errorToLog(error) },
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  return destination ? pino(options, destination) : pino(options);
}
