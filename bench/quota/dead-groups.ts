/**
 * Two of ten key groups die under 1.5 times the load, and come back.
 *
 *     node bench/quota/dead-groups.ts [--rounds 5] [--seconds 20] [--warm-up 10] [--find 180] [--only refused,hanging,disabled]
 *
 * refused: their keys are answered with 401. hanging: their calls are never answered. disabled: their keys are disabled in
 * the keys' file, as an operator does while everything runs (told as not measurable where their calls go on all the same).
 * Counted are the calls that the provider let in: their verdicts follow by the LLM's latency. Aims: in each 5 s window from
 * the moment of death on ≥ 0.95 of the surviving quota; no task lost, doubled or failed. Then they are healthy again; when
 * both have given a verdict that shows it, all ten are back to ≥ 0.95 of the full quota within 5 s, which the window from 5 to
 * 10 s after that shows. (Each is probed at moments of its own: one may be found later than the other by a whole interval.)
 * --find: seconds to wait for both at most.
 */
import type { FaultChange } from "../../src/simulator/simulator-config.ts";
import { drawArrivals } from "./arrivals.ts";
import { type Engine, secretOf, startEngine, tenGroups } from "./engine.ts";
import { startLedger } from "./ledger.ts";
import { type Figure, report } from "./report.ts";
import { interleave, readOptions } from "./rounds.ts";
import { offerTasks, SETTLE_MS, sleep } from "./run-at-load.ts";

const LOAD = 1.5;
const WINDOW_MS = 5_000;
const groups = tenGroups();
const DYING = groups.slice(8).map(({ id }) => id);
const SURVIVING = groups.slice(0, 8).map(({ id }) => id);

interface Death {
  name: string;
  kill(engine: Engine): Promise<void>;
  revive(engine: Engine): Promise<void>;
  /** Whether there was a death at all, where that is not the provider's own doing. */
  died?(engine: Engine): Promise<boolean>;
}
const byFault = (name: string, change: (id: string) => FaultChange): Death => ({
  name,
  async kill({ provider }) {
    for (const id of DYING) await provider.fail([id], change(id));
  },
  revive: ({ provider }) => provider.heal(),
});
const DEATHS: Death[] = [
  byFault("refused", (id) => ({ deadKeys: [secretOf(id)] })),
  byFault("hanging", () => ({ hang: true })),
  {
    name: "disabled",
    kill: async (engine) => engine.disable(DYING),
    revive: async (engine) => engine.disable([]),
    died: standStill,
  },
];

const { find: findSeconds, ...options } = readOptions({ find: 180 });

interface DeathFigures {
  /** False: their calls went on as before, so there was no death to measure. */
  died: boolean;
  /** Survivors' calls ÷ surviving quota in the worst and in the first of the windows. */
  worstWindow: number;
  firstWindow: number;
  lost: number;
  doubled: number;
  failed: number;
  /** From healthy again until both had given a verdict that showed it; NaN: not within `--find`. */
  foundAfterMs: number;
  /** All groups' calls ÷ full quota in the 5 s after that, and in the 5 s after those. */
  nextFive: number;
  fiveAfter: number;
}

async function dieAndReturn(death: Death, seed: number): Promise<DeathFigures> {
  const engine = await startEngine({ groups, simulator: { seed } });
  const ledger = await startLedger(engine.store.url);
  const seconds = options.warmUpSeconds + options.seconds + findSeconds + 20;
  const arrivalsMs = drawArrivals({ perSecond: engine.quotaPerSecond * LOAD, seconds, seed });
  const { offering, taskIds } = offerTasks(engine, arrivalsMs, 10);
  try {
    await sleep(options.warmUpSeconds * 1_000);
    await death.kill(engine);
    const shares = await windowShares(
      engine,
      SURVIVING,
      Math.max(1, Math.round((options.seconds * 1_000) / WINDOW_MS)),
    );
    const died = (await death.died?.(engine)) ?? true;
    await death.revive(engine);
    const foundAfterMs = died ? await bothFound(engine) : Number.NaN;
    const back = Number.isNaN(foundAfterMs) ? [] : await windowShares(engine, undefined, 2);
    await offering.end();
    const offered = taskIds.slice(0, offering.offered().count);
    const { lost, doubled } = await ledger.settled(offered, SETTLE_MS);
    return {
      died,
      worstWindow: Math.min(...shares),
      firstWindow: shares[0] ?? Number.NaN,
      lost: lost.length,
      doubled: doubled.length,
      failed: offered.filter((id) => ledger.of(id)?.outcome === "failed").length,
      foundAfterMs,
      nextFive: back[0] ?? Number.NaN,
      fiveAfter: back[1] ?? Number.NaN,
    };
  } finally {
    await offering.end();
    await ledger.stop();
    await engine.stop();
  }
}

/** Calls let in ÷ quota of these groups, in so many windows from now on. */
async function windowShares({ provider, quotaPerSecond }: Engine, ids: readonly string[] | undefined, count: number) {
  const quota = ids ? (quotaPerSecond * ids.length) / groups.length : quotaPerSecond;
  const shares: number[] = [];
  let before = await provider.seen(ids);
  const from = before.atMs;
  for (let i = 1; i <= count; i += 1) {
    await sleep(from + i * WINDOW_MS - performance.now());
    const after = await provider.seen(ids);
    shares.push((after.admitted - before.admitted) / ((after.atMs - before.atMs) / 1_000) / quota);
    before = after;
  }
  return shares;
}

/** Whether the dying groups get next to no calls any more: alive, each gets its quota of five a second. */
async function standStill({ provider }: Engine): Promise<boolean> {
  const before = await provider.seen(DYING);
  await sleep(2_000);
  return (await provider.seen(DYING)).calls - before.calls <= 4;
}

/** A verdict of each: calls are let in by a provider that never answers, too. */
async function bothFound({ provider }: Engine): Promise<number> {
  const verdicts = () => Promise.all(DYING.map(async (id) => (await provider.seen([id])).ok));
  const before = await verdicts();
  const fromMs = performance.now();
  for (;;) {
    await sleep(50);
    const now = await verdicts();
    const passedMs = performance.now() - fromMs;
    if (now.every((ok, i) => ok > (before[i] ?? 0))) return passedMs;
    if (passedMs > findSeconds * 1_000) return Number.NaN;
  }
}

const results = await interleave(
  Object.fromEntries(DEATHS.map((death) => [death.name, (seed: number) => dieAndReturn(death, seed)])),
  options,
);
const figures = [...results].flatMap(([row, runs]): Figure[] => {
  const of = (what: Exclude<keyof DeathFigures, "died">) => runs.map((run) => run[what]);
  if (runs.some(({ died }) => !died))
    return [
      {
        row,
        what: "survivors' calls / their quota",
        values: [],
        missing: "not measurable yet: the dying groups went on",
      },
    ];
  const found = runs.every(({ foundAfterMs }) => !Number.isNaN(foundAfterMs));
  const back = { row, what: "all calls / quota, 5 to 10 s after they were found", aim: { atLeast: 0.95 } };
  return [
    { row, what: "survivors' calls / their quota, worst 5 s", values: of("worstWindow"), aim: { atLeast: 0.95 } },
    { row, what: "survivors' calls / their quota, first 5 s", values: of("firstWindow") },
    { row, what: "lost", values: of("lost"), aim: { atMost: 0 } },
    { row, what: "doubled", values: of("doubled"), aim: { atMost: 0 } },
    { row, what: "failed", values: of("failed"), aim: { atMost: 0 } },
    { row, what: "both found after, ms", values: of("foundAfterMs") },
    { row, what: "all calls / quota, 5 s after they were found", values: of("nextFive") },
    found
      ? { ...back, values: of("fiveAfter") }
      : { ...back, values: [], missing: `not found within ${findSeconds} s` },
  ];
});
report("quota-dead-groups", figures, { ...options, findSeconds, load: LOAD });
