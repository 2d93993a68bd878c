/**
 * What a task costs the store, with 10, 100 and 1,000 key groups, and what 1,000 groups cost that have nothing to do.
 *
 *     node bench/quota/cost.ts [--rounds 5] [--seconds 20] [--warm-up 40] [--only groups-10,groups-100,groups-1000,idle-1000]
 *
 * The same 40 tasks a second whatever the number of groups, each group with 5 calls a second and 300 a minute; one bridge,
 * one worker. Redis' time is the CPU time of its whole process (networking and append-only file included; fsync always);
 * commands are those of clients, as MONITOR shows them in a time of its own. Aims: at 100 and 1,000 groups at most 1.3 times
 * what a task costs at 10, in time and in commands; idle: at most 20 commands a second, and at most 1 % of a core in Redis.
 */

import { drawArrivals } from "./arrivals.ts";
import { mostFrequent, total, watchCommands } from "./client-commands.ts";
import { type Engine, groupsOf, startEngine } from "./engine.ts";
import { cpuMicros } from "./process-cpu.ts";
import { type Figure, report } from "./report.ts";
import { interleave, readOptions } from "./rounds.ts";
import { offerTasks, sleep } from "./run-at-load.ts";

const TASKS_PER_SECOND = 40;
const FLAT = 1.3;
/** Until each of 1,000 groups has had its first task, with which its worker starts. */
const WARM_UP_SECONDS = 40;
const options = readOptions({}, WARM_UP_SECONDS);

interface Cost {
  tasks: number;
  seconds: number;
  redisMicros: number;
  bridgeMicros: number;
  workerMicros: number;
  commands: number;
  commandSeconds: number;
  commandTasks: number;
  frequent: string;
}

async function costOf(groupCount: number, tasksPerSecond: number, seed: number): Promise<Cost> {
  const engine = await startEngine({ groups: groupsOf(groupCount), simulator: { seed } });
  const seconds = options.warmUpSeconds + 2 * options.seconds + 5;
  const { offering } = offerTasks(engine, drawArrivals({ perSecond: tasksPerSecond, seconds, seed }), 10);
  try {
    await sleep(options.warmUpSeconds * 1_000);
    const before = { ...cpuOf(engine), ...(await engine.provider.seen()) };
    await sleep(options.seconds * 1_000);
    const after = { ...cpuOf(engine), ...(await engine.provider.seen()) };
    const commands = await watchCommands(engine.store.port, options.seconds * 1_000);
    const tasks = (await engine.provider.seen()).ok - after.ok;
    return {
      tasks: after.ok - before.ok,
      seconds: (after.atMs - before.atMs) / 1_000,
      redisMicros: after.redis - before.redis,
      bridgeMicros: after.bridges - before.bridges,
      workerMicros: after.workers - before.workers,
      commands: total(commands),
      commandSeconds: commands.seconds,
      commandTasks: tasks,
      frequent: mostFrequent(commands, tasks > 0 ? tasks : commands.seconds),
    };
  } finally {
    await offering.end();
    await engine.stop();
  }
}

const cpuOf = ({ store, pids }: Engine) => ({
  redis: cpuMicros([store.pid]),
  bridges: cpuMicros(pids.bridges),
  workers: cpuMicros(pids.workers),
});

const results = await interleave(
  {
    ...Object.fromEntries(
      [10, 100, 1_000].map((n) => [`groups-${n}`, (seed: number) => costOf(n, TASKS_PER_SECOND, seed)]),
    ),
    "idle-1000": (seed: number) => costOf(1_000, 0, seed),
  },
  options,
);

const perTask = (of: (cost: Cost) => number) => (cost: Cost) => of(cost) / cost.tasks;
const redisTime = perTask(({ redisMicros }) => redisMicros);
const commandsATask = ({ commands, commandTasks }: Cost) => commands / commandTasks;
const base = results.get("groups-10") ?? [];
const flat = (row: string, runs: Cost[], what: string, of: (cost: Cost) => number): Figure[] => {
  if (row === "groups-10" || base.length === 0) return [];
  const values = runs.map((run, i) => of(run) / (base[i] ? of(base[i]) : Number.NaN));
  return [{ row, what: `${what}, times that of 10 groups`, values, aim: { atMost: FLAT } }];
};
const figures = [...results].flatMap(([row, runs]): Figure[] => {
  if (row === "idle-1000") return idleFigures(row, runs);
  if (runs.some(({ tasks, commandTasks }) => tasks === 0 || commandTasks === 0))
    return [{ row, what: "cost of a task", values: [], aim: { atMost: FLAT }, missing: "no task was done" }];
  return [
    { row, what: "tasks done a second", values: runs.map(({ tasks, seconds }) => tasks / seconds) },
    { row, what: "Redis' CPU a task, µs", values: runs.map(redisTime) },
    ...flat(row, runs, "Redis' CPU a task", redisTime),
    { row, what: "commands a task", values: runs.map(commandsATask) },
    ...flat(row, runs, "commands a task", commandsATask),
    { row, what: "bridge's CPU a task, µs", values: runs.map(perTask(({ bridgeMicros }) => bridgeMicros)) },
    { row, what: "worker's CPU a task, µs", values: runs.map(perTask(({ workerMicros }) => workerMicros)) },
  ];
});

function idleFigures(row: string, runs: Cost[]): Figure[] {
  const ofACore = (of: (cost: Cost) => number) => runs.map((cost) => of(cost) / 1e6 / cost.seconds);
  const commands = runs.map(({ commands, commandSeconds }) => commands / commandSeconds);
  return [
    { row, what: "commands a second", values: commands, aim: { atMost: 20 } },
    { row, what: "Redis, share of a core", values: ofACore(({ redisMicros }) => redisMicros), aim: { atMost: 0.01 } },
    { row, what: "bridge, share of a core", values: ofACore(({ bridgeMicros }) => bridgeMicros) },
    { row, what: "worker, share of a core", values: ofACore(({ workerMicros }) => workerMicros) },
  ];
}

const frequent = Object.fromEntries([...results].map(([row, runs]) => [row, runs.at(-1)?.frequent]));
report("quota-cost", figures, { ...options, tasksPerSecond: TASKS_PER_SECOND, frequent });
