/**
 * What of ten accounts' quota becomes verdicts at 1.5 times the load that it carries, and what is refused on the way.
 *
 *     node bench/quota/goodput.ts [--rounds 5] [--seconds 20] [--warm-up 10] [--only 5-a-second,5-a-second-p95-35,…]
 *
 * Ten key groups of 5 calls a second and 300 a minute, then of 10 and 600; the way to the provider without jitter, then
 * lognormal with a mean of 20 ms and a P95 of 35 and of 50 ms; a provider that does not count refused calls, and one that
 * does. Poisson arrivals, answers after 1.0 s in the mean. Aims: goodput ≥ 0.97 of the quota and ≤ 0.1 % refused; with
 * jitter ≥ 0.95 (P95 35) and ≥ 0.94 (P95 50), and ≤ 1 % refused.
 */
import { tenGroups } from "./engine.ts";
import { type Figure, report } from "./report.ts";
import { interleave, readOptions } from "./rounds.ts";
import { runAtLoad } from "./run-at-load.ts";

const WAYS = [
  { name: "", uplink: { meanMs: 0, p95Ms: 0 }, goodput: 0.97, refused: 0.001 },
  { name: "-p95-35", uplink: { meanMs: 20, p95Ms: 35 }, goodput: 0.95, refused: 0.01 },
  { name: "-p95-50", uplink: { meanMs: 20, p95Ms: 50 }, goodput: 0.94, refused: 0.01 },
];
const PROVIDERS = [
  { name: "5-a-second", perSecond: 5, refusedCallsCount: false },
  { name: "5-a-second-refused-count", perSecond: 5, refusedCallsCount: true },
  { name: "10-a-second", perSecond: 10, refusedCallsCount: false },
];

const options = readOptions();
const cases = PROVIDERS.flatMap((provider) =>
  WAYS.map((way) => ({ ...provider, ...way, name: `${provider.name}${way.name}` })),
);
const results = await interleave(
  Object.fromEntries(
    cases.map(({ name, perSecond, refusedCallsCount, uplink }) => [
      name,
      (seed: number) =>
        runAtLoad(
          { groups: tenGroups(perSecond), simulator: { refusedCallsCount, uplink, seed } },
          { ...options, load: 1.5, seed },
        ),
    ]),
  ),
  options,
);
const figures = cases.flatMap(({ name, goodput, refused }): Figure[] => {
  const runs = results.get(name);
  if (!runs) return [];
  const of = (what: keyof (typeof runs)[number]) => runs.map((run) => run[what]);
  return [
    { row: name, what: "goodput / quota", values: of("goodput"), aim: { atLeast: goodput } },
    { row: name, what: "refused share", values: of("refusedShare"), aim: { atMost: refused } },
    { row: name, what: "lost or doubled", values: runs.map((run) => run.lost + run.doubled), aim: { atMost: 0 } },
    { row: name, what: "failed", values: of("failed") },
    { row: name, what: "guard, mean, ms", values: of("guardMs") },
    { row: name, what: "load late at most, ms", values: of("offeredLateMs") },
  ];
});
report("quota-goodput", figures, { ...options, load: 1.5 });
