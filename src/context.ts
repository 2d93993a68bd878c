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
  "headers.authorization",
  "*.secret",
  "*.apiKey",
  "*.authorization",
  "*.token",
];

/** JSON lines to stdout (the supervisor reads and shows them), or to `destination`. `level`: pino's, or "silent". */
export function createLogger(role: string, level: string, destination?: { write(line: string): void }): Logger {
  const options = {
    level,
    base: { role, pid: process.pid },
    redact: { paths: SECRET_PATHS, censor: "[redacted]" },
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  return destination ? pino(options, destination) : pino(options);
}
