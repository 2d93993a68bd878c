/** What every benchmark of the quota engine can be told, and its rounds: all variants one after the other, again and again. */
import { parseArgs } from "node:util";

export interface RoundOptions {
  rounds: number;
  /** Measured, of each variant in each round. */
  seconds: number;
  /** Before that, until guard, latency and connections have settled. */
  warmUpSeconds: number;
  /** Names of variants; empty: all of them. */
  only: string[];
}

/** From the command line: --rounds 5 --seconds 20 --warm-up 10 --only name,name */
export function readOptions(defaults: Partial<RoundOptions> = {}): RoundOptions {
  const text = { type: "string" } as const;
  const { values } = parseArgs({ options: { rounds: text, seconds: text, "warm-up": text, only: text } });
  const number = (given: string | undefined, otherwise: number) => {
    const value = given === undefined ? otherwise : Number(given);
    if (!Number.isFinite(value) || value < 0) throw new RangeError(`${given} is no number`);
    return value;
  };
  return {
    rounds: number(values.rounds, defaults.rounds ?? 5),
    seconds: number(values.seconds, defaults.seconds ?? 20),
    warmUpSeconds: number(values["warm-up"], defaults.warmUpSeconds ?? 10),
    only: values.only?.split(",") ?? [],
  };
}

/** Runs each variant once a round, the first one another in each round. `run` gets the round's seed: the same for all. */
export async function interleave<R>(
  variants: Readonly<Record<string, (seed: number) => Promise<R>>>,
  { rounds, only }: RoundOptions,
): Promise<Map<string, R[]>> {
  const names = Object.keys(variants).filter((name) => only.length === 0 || only.includes(name));
  if (names.length === 0) throw new RangeError(`--only knows ${Object.keys(variants).join(", ")}`);
  const results = new Map<string, R[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (let i = 0; i < names.length; i += 1) {
      const name = names[(i + round) % names.length] ?? "";
      const result = await variants[name]?.(round + 1);
      if (result === undefined) continue;
      results.get(name)?.push(result);
      console.error(`round ${round + 1} of ${rounds}, ${name}: ${JSON.stringify(result)}`);
    }
  }
  return results;
}
