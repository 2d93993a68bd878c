/** A key group's record in the store as people see it. */
import { z } from "zod";
import { type KeyEvent, type KeyGroupEvent, type KeyState, LATENCY_ENDS_MS } from "../events.ts";
import { STRATEGIES, USUAL_QUALITY } from "./key-groups.ts";
import { fieldsToRecord, stateOf as stateOfRecord } from "./key-state.ts";
import { WINDOW_KINDS, WINDOW_UNITS } from "./window.ts";

const Facts = z.object({
  provider: z.string(),
  model: z.string(),
  simulated: z.boolean(),
  strategy: z.enum(STRATEGIES).default("round_robin"),
  routing: z.enum(STRATEGIES).default("round_robin"),
  weight: z.number().default(1),
  region: z.string().nullable().default(null),
  quality: z.number().default(USUAL_QUALITY),
  pricePerCall: z.number().nullable().default(null),
  windows: z.array(
    z.object({
      name: z.string(),
      limit: z.number(),
      windowMs: z.number(),
      unit: z.enum(WINDOW_UNITS).default("requests"),
      kind: z.enum(WINDOW_KINDS).default("sliding"),
      zone: z.string().optional(),
    }),
  ),
});

/** One list of snapshot.lua's reply. */
export function keyGroupEvent(reply: readonly string[]): KeyGroupEvent {
  const [id = "", now, manned, usable, inFlight, used = "", keys = "", removed, atOnce, ...fields] = reply;
  const record = new Map(
    Array.from({ length: fields.length / 2 }, (_, i) => [fields[2 * i] ?? "", fields[2 * i + 1] ?? ""]),
  );
  const number = (field: string) => Number(record.get(field) ?? 0);
  const facts = Facts.parse(JSON.parse(record.get("json") ?? "{}"));
  const places = used.split(",").map(Number);
  const nowMs = Number(now);
  const hash = Object.fromEntries(record);
  const own = fieldsToRecord(hash, "");
  const coolingLeftMs = Math.max(0, own.coolUntilMs - nowMs);
  const waitsLeftMs = Math.max(0, number("waitsUntil") - nowMs);
  // What people see under way is calls, not leases.
  const ownState = stateOfRecord({ ...own, inFlight: Number(inFlight) }, nowMs);
  const state = stateOf({
    removed: removed === "1",
    noKeys: record.get("keys") === "",
    manned: Number(manned),
    usable: Number(usable),
    own: ownState,
  });
  const ids = keys.split(",").filter(Boolean);
  const out = ids.map((key) => troubleOf(hash, `:${key.split(":")[0]}`, nowMs)).filter((key) => key !== null);
  const inTrouble = state === "disabled" || state === "cooling";
  const trouble = inTrouble ? (ownState === state ? troubleOf(hash, "", nowMs) : soonest(out)) : null;
  const cause = trouble?.cause ?? null;
  const failures = [...record].filter(([field]) => field.startsWith("fail:"));
  const reason = trouble?.reason ?? null;
  return {
    id,
    account: record.get("account") ?? id,
    provider: facts.provider,
    model: facts.model,
    simulated: facts.simulated,
    strategy: facts.strategy,
    routing: facts.routing,
    weight: facts.weight,
    region: facts.region,
    quality: facts.quality,
    pricePerCall: facts.pricePerCall,
    state,
    cause,
    reason,
    cools: trouble?.cools ?? null,
    coolingLeftMs,
    disabledLeftMs: state === "disabled" ? (trouble?.leftMs ?? null) : null,
    inFlight: Number(inFlight),
    concurrency: number("maxConcurrent") > 0 ? { limit: number("maxConcurrent"), used: Number(atOnce) } : null,
    windows: facts.windows.map(({ zone, ...w }, i) => ({ ...w, ...(zone && { zone }), used: places[i] ?? 0 })),
    waitsFor: waitsLeftMs > 0 ? { window: record.get("waitsFor") ?? "", leftMs: waitsLeftMs } : null,
    calls: number("calls"),
    ok: number("ok"),
    rejected429: number("rejected429"),
    failures: Object.fromEntries(failures.map(([field, n]) => [field.slice("fail:".length), Number(n)])),
    refusals: refusalsIn(record),
    medianLatencyMs: record.has("median") ? number("median") : null,
    p95LatencyMs: record.has("p95") ? number("p95") : null,
    latency: { counts: [...LATENCY_ENDS_MS, "rest"].map((end) => number(`lat:${end}`)), sumMs: number("latencySum") },
    tokens: { prompt: number("used:prompt"), completion: number("used:completion") },
    guardMs: number("guard"),
    keys: ids.map((key) => keyEvent(key, { hash, nowMs, group: { state, cause, reason, coolingLeftMs } })),
  };
}

/** Counts by code and, within each, by reason: fields "refused:<code>:<reason>". */
function refusalsIn(record: ReadonlyMap<string, string>): KeyGroupEvent["refusals"] {
  const refusals: KeyGroupEvent["refusals"] = {};
  for (const [field, n] of record) {
    const [, code, reason] = /^refused:([^:]+):(.+)$/.exec(field) ?? [];
    if (code !== undefined && reason !== undefined) refusals[code] = { ...refusals[code], [reason]: Number(n) };
  }
  return refusals;
}

/** Why a group or key is disabled or cools, and for how long still. */
interface Trouble {
  cause: string | null;
  reason: string | null;
  cools: string | null;
  leftMs: number | null;
}

type Hash = Readonly<Record<string, string>>;

/** `suffix` "" for the group, ":<id>" for a key; null: nothing is wrong with it itself. */
function troubleOf(hash: Hash, suffix: string, nowMs: number): Trouble | null {
  const record = fieldsToRecord(hash, suffix);
  const state = stateOfRecord(record, nowMs);
  if (state !== "disabled" && state !== "cooling") return null;
  if (record.off === "by_hand") return { cause: null, reason: null, cools: null, leftMs: null };
  const cause = hash[`cause${suffix}`] || null;
  // It names its cause: an older worker leaves that of an earlier one.
  const [of, reason] = (hash[`reason${suffix}`] ?? "").split(":");
  const endsMs = state === "cooling" ? record.coolUntilMs : Number(hash[`until${suffix}`] || record.probeAtMs);
  return {
    cause,
    reason: (of === cause && reason) || null,
    cools: hash[`cools${suffix}`] || null,
    leftMs: Math.max(0, endsMs - nowMs),
  };
}

/** Where all keys of a group are out, it is as long as the first of them. */
const soonest = (all: readonly Trouble[]): Trouble | null =>
  all.toSorted((a, b) => (a.leftMs ?? Number.POSITIVE_INFINITY) - (b.leftMs ?? Number.POSITIVE_INFINITY))[0] ?? null;

interface OfGroup {
  hash: Hash;
  nowMs: number;
  group: Pick<KeyGroupEvent, "state" | "cause" | "reason" | "coolingLeftMs">;
}

/** A key that nothing is wrong with shares the state of its group. */
function keyEvent(told: string, { hash, nowMs, group }: OfGroup): KeyEvent {
  const [id = "", held, inFlight] = told.split(":");
  const number = (field: string) => Number(hash[`${field}:${id}`] ?? 0);
  const counts = { inFlight: Number(inFlight), calls: number("calls"), ok: number("ok"), failed: number("failed") };
  const standing = { id, ...counts, cause: null, reason: null, cools: null, leftMs: 0 };
  if (held !== "1") return { ...standing, state: "unmanned" };
  const trouble = troubleOf(hash, `:${id}`, nowMs);
  if (trouble) {
    const state = stateOfRecord(fieldsToRecord(hash, `:${id}`), nowMs);
    return { ...standing, ...trouble, leftMs: trouble.leftMs ?? 0, state };
  }
  const { cause, reason } = group;
  if (group.state === "disabled") return { ...standing, state: "disabled", cause, reason };
  if (group.state === "cooling") return { ...standing, state: "cooling", cause, reason, leftMs: group.coolingLeftMs };
  return { ...standing, state: counts.inFlight > 0 ? "in_use" : "available" };
}

interface Standing {
  removed: boolean;
  noKeys: boolean;
  /** Keys that a living worker holds, and those of them that are not disabled. */
  manned: number;
  usable: number;
  /** By its record alone. */
  own: KeyState;
}

function stateOf({ removed, noKeys, manned, usable, own }: Standing): KeyState {
  if (removed) return "removed";
  if (noKeys) return "disabled";
  if (manned === 0) return "unmanned";
  return own === "disabled" || usable === 0 ? "disabled" : own;
}
