/**
 * A worker whose event loop stands still for 200 ms once a second.
 *
 *     node bench/quota/stalls.ts [--rounds 5] [--seconds 20] [--warm-up 10] [--only load-0.9,load-1.5]
 *
 * Ten key groups of 5 calls a second and 300 a minute, one worker process, at 0.9 and at 1.5 times the load that they carry;
 * the same worker without stalls beside it. Aim: at most 1 % of the calls refused.
 */
import { tenGroups } from "./engine.ts";
import { type Figure, report } from "./report.ts";
import { interleave, readOptions } from "./rounds.ts";
import { runAtLoad } from "./run-at-load.ts";

const stalls = [new URL("./stalls-of-200-ms.ts", import.meta.url)];
const CASES = [0.9, 1.5].flatMap((load) => [
  { name: `load-${load}`, load, workerImports: [], most: undefined },
  { name: `load-${load}-stalls`, load, workerImports: stalls, most: 0.01 },
]);

const options = readOptions();
const results = await interleave(
  Object.fromEntries(
    CASES.map(({ name, load, workerImports }) => [
      name,
      (seed: number) =>
        runAtLoad({ groups: tenGroups(), simulator: { seed }, workerImports }, { ...options, load, seed }),
    ]),
  ),
  options,
);
const figures = CASES.flatMap(({ name: row, most }): Figure[] => {
  const runs = results.get(row);
  if (!runs) return [];
  const of = (what: keyof (typeof runs)[number]) => runs.map((run) => run[what]);
  return [
    { row, what: "refused share", values: of("refusedShare"), ...(most !== undefined && { aim: { atMost: most } }) },
    { row, what: "goodput / quota", values: of("goodput") },
    { row, what: "wait P95, ms", values: of("waitP95Ms") },
    { row, what: "lost", values: of("lost"), aim: { atMost: 0 } },
  ];
});
report("quota-stalls", figures, { ...options });
