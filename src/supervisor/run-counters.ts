/** What the roles count and keep in the store themselves, as it grew since a run began: frames, calls, restarts, memory. */
import type { Redis } from "ioredis";
import type { z } from "zod";
import { KeyGroupEvent, RoleHealth } from "../events.ts";
import { CameraStatus } from "../messages.ts";
import { KEYS } from "../names.ts";
import { Growth } from "./growth.ts";
import type { Report } from "./report.ts";

/** A heartbeat or camera status older than this is of one that is gone. */
const FRESH_MS = 5_000;

export class RunCounters {
  /** Ids of the cameras that were alive. */
  readonly cameras = new Set<string>();
  readonly #counts: (cameraId: string) => boolean;
  readonly #frames = new Growth();
  readonly #calls = new Growth();
  readonly #restarts = new Growth();
  readonly #groups = new Map<string, KeyGroupEvent>();
  readonly #rssMb = new Map<string, number>();

  /** `counts`: which cameras count. */
  constructor(counts: (cameraId: string) => boolean) {
    this.#counts = counts;
  }

  /** What was sampled before is where counting begins. */
  begin(): void {
    for (const growth of [this.#frames, this.#calls, this.#restarts]) growth.begin();
  }

  async sample(redis: Redis, nowMs: number): Promise<void> {
    const [cameras, groups, roles, restarts] = await Promise.all([
      redis.hgetall(KEYS.cameras),
      redis.hgetall(KEYS.keyGroups),
      redis.hgetall(KEYS.roles),
      redis.hgetall(KEYS.restarts),
    ]);
    for (const status of parseAll(CameraStatus, cameras)) {
      if (!this.#counts(status.cameraId)) continue;
      if (nowMs - status.atMs < FRESH_MS) this.cameras.add(status.cameraId);
      for (const [what, n] of Object.entries(status.frames)) this.#frames.seen(`${what} ${status.cameraId}`, n);
    }
    for (const group of parseAll(KeyGroupEvent, groups)) {
      this.#groups.set(group.id, group);
      for (const what of ["calls", "ok", "rejected429"] as const) this.#calls.seen(`${what} ${group.id}`, group[what]);
    }
    for (const [role, n] of Object.entries(restarts)) this.#restarts.seen(role, Number(n));
    const rss = new Map<string, number>();
    for (const { role, rssMb, atMs } of parseAll(RoleHealth, roles)) {
      if (nowMs - atMs < FRESH_MS) rss.set(role, (rss.get(role) ?? 0) + rssMb);
    }
    for (const [role, mb] of rss) this.#rssMb.set(role, Math.max(this.#rssMb.get(role) ?? 0, mb));
  }

  get frames(): Report["frames"] {
    const total = (what: string) => this.#frames.total((name) => name.startsWith(`${what} `));
    return { decoded: total("decoded"), detected: total("detected"), dropped: total("dropped") };
  }

  keyGroups(seconds: number): Report["keyGroups"] {
    const of = (what: string, id: string) => this.#calls.total((name) => name === `${what} ${id}`);
    return [...this.#groups.values()]
      .sort((a, b) => a.id.localeCompare(b.id))
      .map((group) => {
        const calls = of("calls", group.id);
        const [ok, rejected429] = [of("ok", group.id), of("rejected429", group.id)];
        return { id: group.id, calls, ok, rejected429, quotaUsed: quotaUsed(group, calls, seconds) };
      });
  }

  get simulated(): boolean {
    return [...this.#groups.values()].some((group) => group.simulated);
  }

  get restarts(): number {
    return this.#restarts.total(() => true);
  }

  get rssMb(): Report["rssMb"] {
    return Object.fromEntries([...this.#rssMb].sort(([a], [b]) => a.localeCompare(b)));
  }
}

/** Share of the calls that the narrowest window of requests would have allowed in that time. */
function quotaUsed(group: KeyGroupEvent, calls: number, seconds: number): number {
  const calling = group.windows.filter((w) => w.unit === "requests");
  const allowed = Math.min(...calling.map((w) => w.limit * Math.max(1, (seconds * 1000) / w.windowMs)));
  return Number.isFinite(allowed) && allowed > 0 ? Math.round((1000 * calls) / allowed) / 1000 : 0;
}

function parseAll<T>(schema: z.ZodType<T>, fields: Record<string, string>): T[] {
  return Object.values(fields).flatMap((json) => {
    try {
      return [schema.parse(JSON.parse(json))];
    } catch {
      return []; // of a version that writes it otherwise
    }
  });
}
