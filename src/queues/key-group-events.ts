/** A key group's record in the store as people see it. */
import { z } from "zod";
import type { KeyGroupEvent } from "../events.ts";
import { WINDOW_KINDS, WINDOW_UNITS } from "./window.ts";

const Facts = z.object({
  provider: z.string(),
  model: z.string(),
  simulated: z.boolean(),
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
  const [id = "", now, manned, usable, inFlight, used = "", removed, ...fields] = reply;
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
  return {
    id,
    provider: facts.provider,
    model: facts.model,
    simulated: facts.simulated,
    state,
    cause: state === "cooling" || state === "disabled" ? record.get("cause") || null : null,
    coolingLeftMs,
    inFlight: Number(inFlight),
    windows: facts.windows.map(({ zone, ...w }, i) => ({ ...w, ...(zone && { zone }), used: places[i] ?? 0 })),
    waitsFor: waitsLeftMs > 0 ? { window: record.get("waitsFor") ?? "", leftMs: waitsLeftMs } : null,
    calls: number("calls"),
    ok: number("ok"),
    rejected429: number("rejected429"),
    failures: Object.fromEntries(failures.map(([field, n]) => [field.slice("fail:".length), Number(n)])),
    medianLatencyMs: record.has("median") ? number("median") : null,
  };
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

function stateOf({ removed, disabled, manned, usable, cooling, inFlight }: Standing): KeyGroupEvent["state"] {
  if (removed) return "removed";
  if (disabled) return "disabled";
  if (manned === 0) return "unmanned";
  if (usable === 0) return "disabled";
  if (cooling) return "cooling";
  return inFlight > 0 ? "in_use" : "available";
}
