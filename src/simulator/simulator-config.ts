/** What the simulated provider is: its accounts with their windows, how slow it is, and what goes wrong. YAML or JSON. */
import { readFileSync } from "node:fs";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { VigilaneError } from "../errors.ts";
import { DIALECT_NAMES } from "./dialects/spoken.ts";

/** Causes for which an account can be told to refuse every call, in its dialect. */
export const REFUSE_CAUSES = [
  "second",
  "minute",
  "burst",
  "tokens",
  "day",
  "balance",
  "key",
  "model",
  "content",
  "request",
  "server",
] as const;
export type RefuseCause = (typeof REFUSE_CAUSES)[number];

const rate = () => z.number().min(0).max(1);

/** Times drawn from a lognormal distribution, ms. The 95th percentile may be 1 to 3.8 times the mean; both 0: no time at all. */
const drawnTimes = (meanMs: number, p95Ms: number) =>
  z
    .strictObject({ meanMs: z.number().min(0).default(meanMs), p95Ms: z.number().min(0).default(p95Ms) })
    .prefault({})
    .refine(
      (time) => time.p95Ms >= time.meanMs && time.p95Ms <= 3.8 * time.meanMs,
      "p95Ms must be 1 to 3.8 times meanMs",
    );

/** What goes wrong at an account. Rates are shares of the calls, 0 to 1, drawn one after the other. */
const FaultFields = z.strictObject({
  /** Answer every call with this HTTP status (400 to 599). Null: do not. */
  status: z.number().int().min(400).max(599).nullable(),
  /** Refuse every call for this cause, in the words of the account's dialect. Null: do not. */
  refuse: z.enum(REFUSE_CAUSES).nullable(),
  /** Never answer; the connection stays open until the caller gives up. */
  hang: z.boolean(),
  /** Answer after exactly so many ms. Null: lognormal, as the latency says. */
  latencyMs: z.number().min(0).nullable(),
  /** Share answered with 500 or 503. */
  serverErrorRate: rate(),
  /** Share refused at the door as if a second's window were full. */
  rateRefusalRate: rate(),
  /** Share never answered. */
  hangRate: rate(),
  /** Share answered with a verdict that is no readable JSON. */
  brokenJsonRate: rate(),
  /** Share refused for their content. */
  contentRefusalRate: rate(),
  /** The account is not paid. */
  arrears: z.boolean(),
  /** Keys (their secrets) that are refused. */
  deadKeys: z.array(z.string()),
  /** For so many calls only, then as before. Null: until it is changed. */
  calls: z.number().int().min(1).nullable(),
});
export type Faults = z.infer<typeof FaultFields>;

const NO_FAULTS: Faults = {
  status: null,
  refuse: null,
  hang: false,
  latencyMs: null,
  serverErrorRate: 0,
  rateRefusalRate: 0,
  hangRate: 0,
  brokenJsonRate: 0,
  contentRefusalRate: 0,
  arrears: false,
  deadKeys: [],
  calls: null,
};

/** Default of every field: nothing goes wrong. */
export const Faults = z.preprocess(
  (named) => (typeof named === "object" && named !== null ? { ...NO_FAULTS, ...named } : named),
  FaultFields,
);

/** Some of the fields; the others stay as they are. */
export const FaultChange = FaultFields.partial();
export type FaultChange = z.infer<typeof FaultChange>;

export const Windows = z.strictObject({
  requestsPerSecond: z.number().int().min(1).optional(),
  requestsPerMinute: z.number().int().min(1).optional(),
  requestsPerDay: z.number().int().min(1).optional(),
  /** Any other sliding window. */
  others: z
    .array(
      z.strictObject({ name: z.string().min(1), requests: z.number().int().min(1), windowMs: z.number().positive() }),
    )
    .default([]),
  /** Calls in flight at once. */
  maxConcurrent: z.number().int().min(1).optional(),
});
export type Windows = z.infer<typeof Windows>;

export const AccountConfig = z.strictObject({
  id: z.string().regex(/^[a-z0-9-]{1,40}$/, "must be made of a-z, 0-9 and -, at most 40"),
  /** The secrets of its keys; they share the account's windows. */
  keys: z.array(z.string().min(1)).min(1),
  /** Whose words its refusals are in. Null: as the whole provider's. */
  dialect: z.enum(DIALECT_NAMES).nullable().default(null),
  windows: Windows.prefault({}),
  faults: Faults.prefault({}),
});
export type AccountConfig = z.infer<typeof AccountConfig>;

/** Ten accounts of one key each, 5 calls a second and 300 a minute: together the 50 calls a second of the target. */
export const defaultAccounts = (): z.input<typeof AccountConfig>[] =>
  Array.from({ length: 10 }, (_, i) => {
    const number = String(i + 1).padStart(2, "0");
    return {
      id: `simulated-${number}`,
      keys: [`sim-key-${number}`],
      windows: { requestsPerSecond: 5, requestsPerMinute: 300 },
    };
  });

export const SimulatorConfig = z
  .strictObject({
    /** enforce: what does not fit into a window is refused. countOnly: nothing is, and the most calls ever inside each window are reported. */
    mode: z.enum(["enforce", "countOnly"]).default("enforce"),
    /** The same seed gives the same draws in the order of the calls. */
    seed: z.number().int().default(1),
    /** How long an answer takes, from the call's arrival. */
    latency: drawnTimes(1_000, 1_450),
    /** How long each call is on its way before it has arrived and is counted; calls overtake each other. Default: no time at all. */
    uplink: drawnTimes(0, 0),
    /** Whose words refusals are in, where the account says nothing else. */
    dialect: z.enum(DIALECT_NAMES).default("dashscope"),
    /** Refusals for quota say how long to wait, in the way of the dialect. */
    retryAfter: z.boolean().default(false),
    /** Refused calls take a place in the windows too, as some providers count. */
    refusedCallsCount: z.boolean().default(false),
    accounts: z.array(AccountConfig).min(1).prefault(defaultAccounts),
  })
  .superRefine(({ accounts }, check) => {
    for (const [what, all] of [
      ["id", accounts.map(({ id }) => id)],
      ["key", accounts.flatMap(({ keys }) => keys)],
    ] as const) {
      const twice = all.filter((value, i) => all.indexOf(value) !== i);
      if (twice.length > 0)
        check.addIssue({ code: "custom", message: `two accounts have the same ${what}`, path: ["accounts"] });
    }
  });
export type SimulatorConfig = z.infer<typeof SimulatorConfig>;

/** The file's settings; without a file the defaults. Throws SETTINGS_INVALID naming every fault. */
export function readSimulatorConfig(path: string | undefined): SimulatorConfig {
  if (path === undefined) return SimulatorConfig.parse({});
  let raw: unknown;
  try {
    raw = parseYaml(readFileSync(path, "utf8")) ?? {};
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new VigilaneError("SETTINGS_INVALID", `the simulator's file ${path}: ${why}`);
  }
  const parsed = SimulatorConfig.safeParse(raw);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join(".") || "(whole file)"}: ${issue.message}`);
  throw new VigilaneError("SETTINGS_INVALID", `the simulator's file ${path} is wrong:\n  - ${faults.join("\n  - ")}`);
}
