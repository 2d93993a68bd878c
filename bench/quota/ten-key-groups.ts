/**
 * Ten key groups beside one: calls a second that are answered under 1.5 times the load that the quota carries.
 *
 *     node bench/quota/ten-key-groups.ts [--rounds 5] [--seconds 20] [--warm-up 10]
 *
 * Each group has 5 calls a second and 300 a minute. Aim: ten make at least 9.7 times as many calls as one, each pair of
 * runs of the same round compared.
 */
import { groupsOf } from "./engine.ts";
import { report } from "./report.ts";
import { interleave, readOptions } from "./rounds.ts";
import { runAtLoad } from "./run-at-load.ts";

const options = readOptions();
const run = (count: number) => (seed: number) =>
  runAtLoad({ groups: groupsOf(count), simulator: { seed } }, { ...options, load: 1.5, seed });
const results = await interleave({ one: run(1), ten: run(10) }, { ...options, only: [] });
const [one = [], ten = []] = [results.get("one"), results.get("ten")];
const ratios = ten.map(({ callsPerSecond }, i) => callsPerSecond / (one[i]?.callsPerSecond ?? Number.NaN));
report(
  "quota-ten-key-groups",
  [
    { row: "ten / one", what: "calls a second", values: ratios, aim: { atLeast: 9.7 } },
    ...Object.entries({ one, ten }).flatMap(([row, runs]) => [
      { row, what: "calls a second", values: runs.map(({ callsPerSecond }) => callsPerSecond) },
      { row, what: "goodput / quota", values: runs.map(({ goodput }) => goodput) },
      { row, what: "refused share", values: runs.map(({ refusedShare }) => refusedShare) },
    ]),
  ],
  { ...options },
);
