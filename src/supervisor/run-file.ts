/** data/run.json: where a running vigilane is, for `vigilane load` and others on this machine. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

export const RunFile = z.object({
  pid: z.number(),
  /** With its password: the file is for its owner alone. */
  redisUrl: z.string(),
  /** Empty: the topics are in the store. */
  kafkaBrokers: z.array(z.string()).default([]),
  /** Null: no gateway runs here. */
  gatewayUrl: z.string().nullable(),
  /** ISO 8601. */
  startedAt: z.string(),
});
export type RunFile = z.infer<typeof RunFile>;

const pathIn = (data: string) => join(data, "run.json");

export function writeRunFile(data: string, run: RunFile): void {
  removeRunFile(data); // of a killed one: its mode might be another
  writeFileSync(pathIn(data), `${JSON.stringify(run, null, 2)}\n`, { mode: 0o600 });
}

export function removeRunFile(data: string): void {
  rmSync(pathIn(data), { force: true });
}

/** Undefined: none runs, or the one that did was killed. */
export function readRunFile(data: string): RunFile | undefined {
  try {
    const run = RunFile.parse(JSON.parse(readFileSync(pathIn(data), "utf8")));
    process.kill(run.pid, 0);
    return run;
  } catch {
    return undefined;
  }
}
