/** What every benchmark of the quota engine can be told, and its rounds: all variants one after the other, again and again. */
import { parseArgs } from "node:util";

export interface RoundOptions {
  rounds: number;
  /** Number of the first one: a measurement may be taken in parts, each round with its own seed. Default 1. */
  firstRound: number;
  /** Measured, of each variant in each round. */
  seconds: number;
  /** Before that, until guard, latency and connections have settled. */
  warmUpSeconds: number;
  /** Names of variants; empty: all of them. */
  only: string[];
}

/** From the command line: --rounds 5 --first-round 1 --seconds 20 --warm-up 10 --only name,name; and further numbers, by name, with their defaults. */
export function readOptions(): RoundOptions;
export function readOptions<M extends Record<string, number>>(
  more: M,
  warmUpSeconds?: number,
): RoundOptions & { [N in keyof M]: number };
export function readOptions(
  more: Record<string, number> = {},
  warmUpSeconds = 10,
): RoundOptions & Record<string, unknown> {
  const numbers: Record<string, number> = {
    rounds: 5,
    "first-round": 1,
    seconds: 20,
    "warm-up": warmUpSeconds,
    ...more,
  };
  const known = [...Object.keys(numbers), "only"].map((name) => [name, { type: "string" as const }]);
  const values: Record<string, unknown> = parseArgs({ options: Object.fromEntries(known) }).values;
  const number = (name: string) => {
    const value = Number(values[name] ?? numbers[name]);
    if (!Number.isFinite(value) || value < 0) throw new RangeError(`--${name}: ${values[name]} is no number`);
    return value;
  };
  return {
    ...Object.fromEntries(Object.keys(more).map((name) => [name, number(name)])),
    rounds: number("rounds"),
    firstRound: number("first-round"),
    seconds: number("seconds"),
    warmUpSeconds: number("warm-up"),
    only: typeof values.only === "string" ? values.only.split(",") : [],
  };
}

/** Runs each variant once a round, the first one another in each round. `run` gets the round's seed: the same for all. */
export async function interleave<R>(
  variants: Readonly<Record<string, (seed: number) => Promise<R>>>,
  { rounds, firstRound, only }: RoundOptions,
): Promise<Map<string, R[]>> {
  const names = Object.keys(variants).filter((name) => only.length === 0 || only.includes(name));
  // A store that was started ends with this process only when that is left in order.
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));
  if (names.length === 0) throw new RangeError(`--only knows ${Object.keys(variants).join(", ")}`);
  const results = new Map<string, R[]>(names.map((name) => [name, []]));
  for (let round = firstRound; round < firstRound + rounds; round += 1) {
    for (let i = 0; i < names.length; i += 1) {
      const name = names[(i + round - 1) % names.length] ?? "";
      const result = await variants[name]?.(round);
      if (result === undefined) continue;
      results.get(name)?.push(result);
      console.error(`round ${round} of ${firstRound + rounds - 1}, ${name}: ${JSON.stringify(result)}`);
    }
  }
  return results;
}
