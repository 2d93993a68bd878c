/** The line that says a few times a minute how the whole is doing, from what the roles keep in the store. */
import type { Redis } from "ioredis";
import { Totals } from "../events.ts";
import { CameraStatus } from "../messages.ts";
import { KEYS } from "../names.ts";

const FRESH_MS = 5_000;

/** Rejects when the store is away. */
export async function statusLine(redis: Redis, nowMs: number): Promise<string> {
  const [json, cameraFields] = await Promise.all([redis.hget(KEYS.totals, "json"), redis.hgetall(KEYS.cameras)]);
  const cameras = Object.values(cameraFields).flatMap((text) => {
    const parsed = CameraStatus.safeParse(JSON.parse(text));
    return parsed.success && nowMs - parsed.data.atMs < FRESH_MS ? [parsed.data] : [];
  });
  const totals = json === null ? undefined : Totals.safeParse(JSON.parse(json)).data;
  return formatStatus(cameras, totals);
}

export function formatStatus(cameras: readonly CameraStatus[], totals: Totals | undefined): string {
  const online = cameras.filter((camera) => camera.state === "online").length;
  const parts = [
    `cameras ${online} of ${cameras.length} online`,
    `frames ${cameras.reduce((sum, camera) => sum + camera.frames.detected, 0)}`,
  ];
  if (totals) {
    const { outcomes } = totals;
    const verdicts = (outcomes.assessed ?? 0) + (outcomes.reused ?? 0);
    const others = Object.entries(outcomes).filter(([kind, n]) => kind !== "assessed" && kind !== "reused" && n > 0);
    parts.push(
      `groups ${totals.groups}`,
      `verdicts ${verdicts} (${totals.verdictsPerSecond.toFixed(1)}/s)${others.map(([kind, n]) => `, ${n} ${kind}`).join("")}`,
      `P95 ${totals.endToEndP95Ms === null ? "-" : `${(totals.endToEndP95Ms / 1000).toFixed(1)} s`}`,
      `quota ${(100 * totals.quotaUsed).toFixed(0)} % used`,
    );
    if (totals.waiting > 0) parts.push(`${totals.waiting} waiting`);
  }
  return parts.join(" · ");
}
