/** A key group's record in the store as people see it. */
import { z } from "zod";
import { type KeyEvent, type KeyGroupEvent, type KeyState, LATENCY_ENDS_MS } from "../events.ts";
import { STRATEGIES, USUAL_QUALITY } from "./key-groups.ts";
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
  const [id = "", now, manned, usable, inFlight, used = "", keys = "", removed, ...fields] = reply;
  const record = new Map(
    Array.from({ length: fields.length / 2 }, (_, i) => [fields[2 * i] ?? "", fields[2 * i + 1] ?? ""]),
  );
  const number = (field: string) => Number(record.get(field) ?? 0);
  const facts = Facts.parse(JSON.parse(record.get("json") ?? "{}"));
  const places = used.split(",").map(Number);
  const coolingLeftMs = Math.max(0, number("coolUntil") - Number(now));
  const waitsLeftMs = Math.max(0, number("waitsUntil") - Number(now));
  const state = stateOf({
    removed: removed === "1",
    disabled: record.get("disabled") === "1" || record.get("keys") === "",
    manned: Number(manned),
    usable: Number(usable),
    cooling: coolingLeftMs > 0,
    inFlight: Number(inFlight),
  });
  const failures = [...record].filter(([field]) => field.startsWith("fail:"));
  const cause = state === "cooling" || state === "disabled" ? record.get("cause") || null : null;
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
    coolingLeftMs,
    inFlight: Number(inFlight),
    windows: facts.windows.map(({ zone, ...w }, i) => ({ ...w, ...(zone && { zone }), used: places[i] ?? 0 })),
    waitsFor: waitsLeftMs > 0 ? { window: record.get("waitsFor") ?? "", leftMs: waitsLeftMs } : null,
    calls: number("calls"),
    ok: number("ok"),
    rejected429: number("rejected429"),
    failures: Object.fromEntries(failures.map(([field, n]) => [field.slice("fail:".length), Number(n)])),
    medianLatencyMs: record.has("median") ? number("median") : null,
    p95LatencyMs: record.has("p95") ? number("p95") : null,
    latency: { counts: [...LATENCY_ENDS_MS, "rest"].map((end) => number(`lat:${end}`)), sumMs: number("latencySum") },
    guardMs: number("guard"),
    keys: keys
      .split(",")
      .filter(Boolean)
      .map((key) => keyEvent(key, { record, nowMs: Number(now), group: { state, cause, coolingLeftMs } })),
  };
}

interface OfGroup {
  record: ReadonlyMap<string, string>;
  nowMs: number;
  group: Pick<KeyGroupEvent, "state" | "cause" | "coolingLeftMs">;
}

/** A key that nothing is wrong with shares the state of its group. */
function keyEvent(told: string, { record, nowMs, group }: OfGroup): KeyEvent {
  const [id = "", held, inFlight] = told.split(":");
  const number = (field: string) => Number(record.get(`${field}:${id}`) ?? 0);
  const offLeftMs = Math.max(0, number("off") - nowMs);
  const counts = { inFlight: Number(inFlight), calls: number("calls"), ok: number("ok"), failed: number("failed") };
  const standing = { id, ...counts, cause: null, leftMs: 0 };
  if (held !== "1") return { ...standing, state: "unmanned" };
  if (offLeftMs > 0)
    return { ...standing, state: "disabled", cause: record.get(`cause:${id}`) || null, leftMs: offLeftMs };
  if (group.state === "disabled") return { ...standing, state: "disabled", cause: group.cause };
  if (group.coolingLeftMs > 0)
    return { ...standing, state: "cooling", cause: group.cause, leftMs: group.coolingLeftMs };
  return { ...standing, state: counts.inFlight > 0 ? "in_use" : "available" };
}

interface Standing {
  removed: boolean;
  disabled: boolean;
  /** Keys that a living worker holds, and those of them that are not left out for a fault. */
  manned: number;
  usable: number;
  cooling: boolean;
  inFlight: number;
}

function stateOf({ removed, disabled, manned, usable, cooling, inFlight }: Standing): KeyState {
  if (removed) return "removed";
  if (disabled) return "disabled";
  if (manned === 0) return "unmanned";
  if (usable === 0) return "disabled";
  if (cooling) return "cooling";
  return inFlight > 0 ? "in_use" : "available";
}
