/**
 * How many processes share the quota changes nothing: two workers and four, one bridge and three.
 *
 *     node bench/quota/processes.ts [--rounds 5] [--seconds 20] [--warm-up 10] [--only workers-2,workers-4]
 *
 * Ten key groups of 5 calls a second and 300 a minute at 1.5 times the load that they carry. Aims, the means over all rounds
 * against those of two workers and one bridge: goodput within 1 % of it, the refused share within 0.1 percentage points.
 * "again" is that same set-up once more: how far apart two equal ones lie here, below which nothing can be told.
 */
import { tenGroups } from "./engine.ts";
import { type Figure, report } from "./report.ts";
import { interleave, readOptions } from "./rounds.ts";
import { type RunFigures, runAtLoad } from "./run-at-load.ts";

const BASE = "workers-2-bridges-1";
const SETS: Record<string, { workers: number; bridges: number }> = {
  [BASE]: { workers: 2, bridges: 1 },
  again: { workers: 2, bridges: 1 },
  "workers-4": { workers: 4, bridges: 1 },
  "bridges-3": { workers: 2, bridges: 3 },
};

const options = readOptions();
const only = options.only.length === 0 ? [] : [BASE, ...options.only];
const results = await interleave(
  Object.fromEntries(
    Object.entries(SETS).map(([name, set]) => [
      name,
      (seed: number) =>
        runAtLoad({ groups: tenGroups(), simulator: { seed }, ...set }, { ...options, load: 1.5, seed }),
    ]),
  ),
  { ...options, only },
);
const base = results.get(BASE) ?? [];
const mean = (runs: readonly RunFigures[], what: "goodput" | "refusedShare") =>
  runs.reduce((sum, run) => sum + run[what], 0) / runs.length;
const figures = [...results].flatMap(([row, runs]): Figure[] => {
  const told: Figure[] = [
    { row, what: "goodput / quota", values: runs.map(({ goodput }) => goodput) },
    { row, what: "refused share", values: runs.map(({ refusedShare }) => refusedShare) },
    { row, what: "lost", values: runs.map(({ lost }) => lost), aim: { atMost: 0 } },
  ];
  if (row === BASE) return told;
  const goodput = Math.abs(mean(runs, "goodput") / mean(base, "goodput") - 1);
  const refused = Math.abs(mean(runs, "refusedShare") - mean(base, "refusedShare"));
  const aim = (atMost: number) => (row === "again" ? {} : { aim: { atMost } });
  return [
    ...told,
    { row, what: "goodput apart from the base's, share", values: [goodput], ...aim(0.01) },
    { row, what: "refused share apart from the base's", values: [refused], ...aim(0.001) },
  ];
});
report("quota-processes", figures, { ...options, load: 1.5 });
