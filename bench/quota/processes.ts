/**
 * How many processes share the quota changes nothing: two workers and four, one bridge and three.
 *
 *     node bench/quota/processes.ts [--rounds 5] [--seconds 20] [--warm-up 10] [--only workers-2,workers-4]
 *
 * Ten key groups of 5 calls a second and 300 a minute at 1.5 times the load that they carry. Aims, each run against that of
 * two workers and one bridge in the same round: goodput within 1 % of it, the refused share within 0.1 percentage points.
 * The first variant, "again", is that same set-up once more: how far two equal runs lie apart here.
 */
import { tenGroups } from "./engine.ts";
import { type Figure, report } from "./report.ts";
import { interleave, readOptions } from "./rounds.ts";
import { runAtLoad } from "./run-at-load.ts";

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
const figures = [...results].flatMap(([row, runs]): Figure[] => {
  const told: Figure[] = [
    { row, what: "goodput / quota", values: runs.map(({ goodput }) => goodput) },
    { row, what: "refused share", values: runs.map(({ refusedShare }) => refusedShare) },
    { row, what: "lost", values: runs.map(({ lost }) => lost), aim: { atMost: 0 } },
  ];
  if (row === BASE) return told;
  const apart = (of: (run: (typeof runs)[number]) => number) =>
    runs.map((run, i) => of(run) - of(base[i] ?? { ...run, goodput: Number.NaN, refusedShare: Number.NaN }));
  const goodputs = apart(({ goodput }) => goodput).map((d, i) => Math.abs(d) / (base[i]?.goodput ?? Number.NaN));
  const refused = apart(({ refusedShare }) => refusedShare).map(Math.abs);
  return [
    ...told,
    { row, what: "goodput apart from the base's, share", values: goodputs, aim: { atMost: 0.01 } },
    { row, what: "refused share apart from the base's", values: refused, aim: { atMost: 0.001 } },
  ];
});
report("quota-processes", figures, { ...options, load: 1.5 });
