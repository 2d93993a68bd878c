/** The guards that the key groups have while a benchmark runs, read from the store. */
import type { Redis } from "ioredis";
import type { BenchGroup } from "./engine.ts";
import type { GuardAt } from "./ideal.ts";

export interface GuardLog {
  /** `startedAtMs`: wall clock at which the plan's time is 0. */
  guardAt(startedAtMs: number): GuardAt;
  /** Over all groups and samples, ms. */
  meanMs(): number;
  stop(): Promise<void>;
}

const SAMPLE_MS = 500;

/** Throws when the store no longer keeps a guard where it is looked for: better no figure than a wrong one. */
export async function logGuards(redis: Redis, groups: readonly BenchGroup[]): Promise<GuardLog> {
  const samples: { atMs: number; guards: number[] }[] = [];
  const sample = async () => {
    const guards = await Promise.all(groups.map(({ id }) => redis.hget(`{vl}:group:${id}`, "guard")));
    if (guards.includes(null)) throw new Error("the key groups' records in the store have no field `guard` any more");
    samples.push({ atMs: Date.now(), guards: guards.map(Number) });
  };
  await sample();
  let sampling = Promise.resolve();
  const timer = setInterval(() => {
    sampling = sample();
  }, SAMPLE_MS);
  return {
    guardAt: (startedAtMs) => {
      let i = 0;
      return (group, planMs) => {
        const atMs = startedAtMs + planMs;
        if ((samples[i]?.atMs ?? 0) > atMs) i = 0;
        while ((samples[i + 1]?.atMs ?? Number.POSITIVE_INFINITY) <= atMs) i += 1;
        return samples[i]?.guards[group] ?? Number.NaN;
      };
    },
    meanMs() {
      const all = samples.flatMap(({ guards }) => guards);
      return all.reduce((sum, guard) => sum + guard, 0) / all.length;
    },
    async stop() {
      clearInterval(timer);
      await sampling;
    },
  };
}
