/** Calls apart from any task, such as a person's who tries a key: they take their places in the same windows as all others. */
import type { Redis } from "ioredis";
import { z } from "zod";
import { PREFIX, script } from "./lua-scripts.ts";

const apartScript = script("apart", "run");

/** granted: call now, then `end`. wait: nothing is reserved, ask again. unknown: the store knows no such key group. */
export type ApartAnswer = { kind: "granted" } | { kind: "wait"; ms: number; window: string } | { kind: "unknown" };

export interface CallsApart {
  /** `name`: of this call, unlike any other's. `tokens`: at most so many. */
  reserve(keyGroup: string, name: string, tokens: number, timeoutMs: number): Promise<ApartAnswer>;
  /** The call has ended. Undefined: what it took is not known, and what was reserved stays. */
  end(name: string, tokens: number | undefined): Promise<void>;
}

export function createCallsApart(redis: Redis): CallsApart {
  const run = async (...args: (string | number)[]) =>
    z.array(z.string()).parse(await apartScript.run(redis, [PREFIX], args));
  return {
    async reserve(keyGroup, name, tokens, timeoutMs) {
      const [kind, ms = "0", window = ""] = await run("reserve", keyGroup, `apart:${name}`, tokens, timeoutMs);
      if (kind === "wait") return { kind, ms: Number(ms), window };
      return { kind: kind === "granted" ? kind : "unknown" };
    },
    async end(name, tokens) {
      await run("end", `apart:${name}`, tokens ?? "");
    },
  };
}
