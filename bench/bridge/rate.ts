/** How fast a count in the store grows, what each process that has to do with it takes of the CPU meanwhile, and their figures. */
import { systemClock } from "../../src/context.ts";
import type { Confined } from "../quota/core-share.ts";
import { cpuMicrosInTicks } from "../quota/process-cpu.ts";
import { type Figure, quantile } from "../quota/report.ts";

export interface Rate {
  perSecond: number;
  /** Of each of the processes that are counted, in cores. */
  cores: number[];
  /** Of their periods, where they are confined: the share in which they had to wait for the next. */
  heldBack: number[];
  /** Cores of whoever else had to do with it. */
  others: Record<string, number>;
}

export interface RateOptions {
  counted: () => Promise<number>;
  /** It begins when so many are counted. */
  from: number;
  done: (count: number, ms: number) => boolean;
  /** The processes that are counted, and how they are confined; empty: they are not. */
  pids: readonly number[];
  held: readonly Confined[];
  /** Process ids of whoever else has to do with it. */
  others: Record<string, number | undefined>;
}

export async function measureRate({ counted, from, done, pids, held, others }: RateOptions): Promise<Rate> {
  const named = Object.entries(others).flatMap(([name, pid]) => (pid ? [{ name, pid }] : []));
  const all = [...pids, ...named.map(({ pid }) => pid)];
  const cpu = () => all.map(cpuMicrosInTicks);
  const periods = () => held.map((one) => one.periods());
  let count = await counted();
  for (; count < from; count = await counted()) await systemClock.sleep(5);
  const [before, periodsBefore, first, begun] = [cpu(), periods(), count, performance.now()];
  for (; !done(count, performance.now() - begun); count = await counted()) await systemClock.sleep(10);
  const ms = performance.now() - begun;
  const cores = cpu().map((micros, i) => rounded((micros - (before[i] ?? 0)) / 1_000 / ms));
  const heldBack = periods().map((now, i) => {
    const then = periodsBefore[i] ?? { all: 0, heldBack: 0 };
    return rounded((now.heldBack - then.heldBack) / (now.all - then.all));
  });
  return {
    perSecond: Math.round(((count - first) / ms) * 1_000),
    ...{ cores: cores.slice(0, pids.length), heldBack },
    others: Object.fromEntries(named.map(({ name }, i) => [name, cores[pids.length + i] ?? 0])),
  };
}

/** Of variants `<kind>-<count>`, each beside its kind's "-1" where that was measured too. */
export function rateFigures(results: ReadonlyMap<string, Rate[]>): Figure[] {
  const median = (name: string) =>
    quantile(
      (results.get(name) ?? []).map(({ perSecond }) => perSecond).toSorted((a, b) => a - b),
      0.5,
    );
  return [...results].flatMap(([row, runs]): Figure[] => {
    const one = `${row.split("-")[0]}-1`;
    const sum = ({ cores }: Rate) => cores.reduce((a, b) => a + b, 0);
    const confined = runs.filter(({ heldBack }) => heldBack.length > 0);
    const names = Object.keys(runs[0]?.others ?? {});
    return [
      { row, what: "groups a second", values: runs.map(({ perSecond }) => perSecond) },
      ...(row === one || !results.has(one)
        ? []
        : [{ row, what: "÷ that of one", values: [median(row) / median(one)] }]),
      { row, what: "cores that each of them takes, mean", values: runs.map((run) => sum(run) / run.cores.length) },
      ...(confined.length === 0
        ? []
        : [
            {
              ...{ row, what: "periods in which it was held back, the least of them" },
              values: confined.map(({ heldBack }) => Math.min(...heldBack)),
            },
          ]),
      { row, what: "groups for a CPU-second of theirs", values: runs.map((run) => run.perSecond / sum(run)) },
      ...names.map((name) => ({ row, what: `cores, ${name}`, values: runs.map(({ others }) => others[name] ?? 0) })),
      {
        ...{ row, what: "cores, all of these" },
        values: runs.map((run) => sum(run) + Object.values(run.others).reduce((a, b) => a + b, 0)),
      },
    ];
  });
}

const rounded = (value: number) => Number(value.toFixed(2));
