/**
 * vigilane beside the limiters that BullMQ has in stock, on the same arrivals at 0.9 of the quota.
 *
 *     node bench/quota/stock-limiters.ts [--rounds 5] [--seconds 20] [--warm-up 10]
 *
 * Ten accounts of 5 calls a second and 300 a minute. Stock: one queue an account, a Worker with `limiter: { max: 5,
 * duration: 1000 }` and concurrency 100, arrivals to the queues in turn, a refused call tried again (five attempts,
 * exponential back-off from 1 s). Both in processes of their own over a Redis of the same settings. Waits count from the
 * moment at which a task was due until the call that was answered began. Aim: share of refused calls ≤ 0.01 × stock's.
 */
import { tenGroups } from "./engine.ts";
import { type Figure, report } from "./report.ts";
import { interleave, readOptions } from "./rounds.ts";
import { runAtLoad } from "./run-at-load.ts";
import { runStock, type StockFigures } from "./stock-run.ts";

const LOAD = 0.9;
const options = readOptions();
const groups = tenGroups();
const results = await interleave<StockFigures>(
  {
    vigilane: (seed) => runAtLoad({ groups, simulator: { seed } }, { ...options, load: LOAD, seed }),
    stock: (seed) => runStock(groups, { seed }, { ...options, load: LOAD, seed }),
  },
  { ...options, only: [] },
);
const [ours = [], stock = []] = [results.get("vigilane"), results.get("stock")];
const ratios = ours.map(({ refusedShare }, i) => refusedShare / (stock[i]?.refusedShare ?? Number.NaN));
report(
  "quota-stock-limiters",
  [
    { row: "vigilane / stock", what: "refused share", values: ratios, aim: { atMost: 0.01 } },
    ...Object.entries({ vigilane: ours, stock }).flatMap(([row, runs]): Figure[] => [
      { row, what: "refused share", values: runs.map(({ refusedShare }) => refusedShare) },
      { row, what: "wait P95, ms", values: runs.map(({ waitP95Ms }) => waitP95Ms) },
      { row, what: "goodput / quota", values: runs.map(({ goodput }) => goodput) },
      { row, what: "assessed share", values: runs.map(({ assessedShare }) => assessedShare) },
    ]),
  ],
  { ...options, load: LOAD },
);
