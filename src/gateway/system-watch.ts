/**
 * What the store says about the whole system, read twice a second and kept while the store is away: cameras, key groups,
 * totals, roles. Every page is drawn from this memory, so that pages stay up whatever the store does.
 */
import type { Redis } from "ioredis";
import type { ZodType } from "zod";
import type { Context } from "../context.ts";
import {
  type CameraEvent,
  CameraRisk,
  type Health,
  type KeyGroupChange,
  KeyGroupEvent,
  RoleHealth,
  TopicLag,
  Totals,
} from "../events.ts";
import { within } from "../lifecycle.ts";
import { CameraStatus } from "../messages.ts";
import { KEYS } from "../names.ts";
import { checkStore } from "../store.ts";
import { createKeyGroupChanges } from "./key-group-changes.ts";
import { detectionsToPublish, resultsToPublish, topicsHealth } from "./topics-health.ts";

/** A heartbeat or a camera's status older than this is not believed any more. */
export const FRESH_MS = 5_000;
/** A lag is told every 5 s; one that is older is not believed: its topics are away. */
const FRESH_LAG_MS = 20_000;
const LOOK_EVERY_MS = 500;
/** A store that has not answered for so long is away. */
const ANSWER_MS = 1_000;

export interface SystemState {
  cameras: ReadonlyMap<string, CameraEvent>;
  keyGroups: ReadonlyMap<string, KeyGroupEvent>;
  /** The history of their states, oldest first. */
  keyGroupChanges: readonly KeyGroupChange[];
  /** How often each came into each state: "<group>:<state>" or "<group>/<key>:<state>". */
  keyGroupChangeCounts: ReadonlyMap<string, number>;
  /** What queues count over all key groups since the store began. */
  counters: ReadonlyMap<string, number>;
  totals: Totals | null;
  /** Of our consumer groups. */
  lags: readonly TopicLag[];
  health: Health;
}

export interface SystemWatch {
  state(): SystemState;
  /** Looks once; resolves within ANSWER_MS, whatever the store does. Returns the state before. */
  refresh(): Promise<SystemState>;
  /** Looks again and again until `signal` aborts; `changed` hears of each new state with the one before. */
  follow(signal: AbortSignal, changed: (now: SystemState, before: SystemState) => void): Promise<void>;
}

export function createSystemWatch(redis: Redis, askedRoles: readonly string[], context: Context): SystemWatch {
  const { clock, log } = context;
  const changes = createKeyGroupChanges(redis);
  const readKeyGroups = readOnlyNew(KeyGroupEvent);
  let inMemory: boolean | null = null;
  let looking: Promise<Stored> | undefined;
  let state: SystemState = {
    cameras: new Map(),
    keyGroups: new Map(),
    keyGroupChanges: [],
    keyGroupChangeCounts: new Map(),
    counters: new Map(),
    totals: null,
    lags: [],
    health: {
      ...{ ok: false, problems: ["the gateway has just started"], store: "away", storeInMemory: false },
      ...{ topics: null, detectionsToPublish: null, resultsToPublish: null, roles: [] },
    },
  };

  async function look(): Promise<Stored> {
    const [cameras, risks, keyGroups, roles, totals, keyGroupChanges, changeCounts, counters, lags] = await Promise.all(
      [
        redis.hgetall(KEYS.cameras),
        redis.hgetall(KEYS.risks),
        redis.hgetall(KEYS.keyGroups),
        redis.hgetall(KEYS.roles),
        redis.hget(KEYS.totals, "json"),
        changes.readOn(),
        redis.hgetall(KEYS.keyGroupChangeCounts),
        redis.hgetall(KEYS.counters),
        redis.hgetall(KEYS.lags),
      ],
    );
    inMemory ??= (await checkStore(redis)).inMemory;
    const nowMs = clock.nowMs();
    return {
      cameras: joinCameras(readAll(CameraStatus, cameras), readAll(CameraRisk, risks), nowMs),
      keyGroups: byId(readKeyGroups(keyGroups)),
      keyGroupChanges,
      keyGroupChangeCounts: numbers(changeCounts),
      counters: numbers(counters),
      totals: totals === null ? null : read(Totals, totals),
      lags: [...byId(readAll(TopicLag, lags)).values()].filter(({ atMs }) => nowMs - atMs < FRESH_LAG_MS),
      roles: [...readAll(RoleHealth, roles).values()].filter((role) => nowMs - role.atMs < FRESH_MS),
    };
  }

  /** The store's answer, or null when it is away. At most one look is under way, however long the store sleeps. */
  async function lookInTime(): Promise<Stored | null> {
    if (redis.status !== "ready") {
      inMemory = null; // what comes back may be another store
      return null;
    }
    looking ??= look().finally(() => {
      looking = undefined;
    });
    const asked = looking;
    return await within(clock, ANSWER_MS, "the store's answer", () => asked).catch(() => null);
  }

  async function refresh(): Promise<SystemState> {
    const before = state;
    const stored = await lookInTime();
    if (stored === null) {
      const { roles, storeInMemory } = before.health;
      state = { ...before, health: { ...healthOf([], askedRoles, { store: "away", storeInMemory }), roles } };
    } else {
      const health = healthOf(stored.roles, askedRoles, { store: "up", storeInMemory: inMemory ?? false });
      const { roles: _, ...whole } = stored;
      state = { ...whole, health };
    }
    if (before.health.store !== state.health.store) log.info({ store: state.health.store }, "the store's state");
    return before;
  }

  return {
    state: () => state,
    refresh,
    async follow(signal, changed) {
      while (!signal.aborted) {
        const before = await refresh();
        try {
          changed(state, before);
        } catch (error) {
          log.error({ err: error }, "a change could not be told");
        }
        await clock.sleep(LOOK_EVERY_MS, signal).catch(() => {});
      }
    },
  };
}

type Stored = Omit<SystemState, "health"> & { roles: RoleHealth[] };

/**
 * All is well when the store answers, every role that was asked for has a fresh and ready heartbeat, and no living role is
 * cut off from its topics.
 */
export function healthOf(
  roles: readonly RoleHealth[],
  askedRoles: readonly string[],
  store: Pick<Health, "store" | "storeInMemory">,
): Health {
  const problems: string[] = [];
  const topics = topicsHealth(roles);
  const results = resultsToPublish(roles);
  if (store.store === "away") problems.push("the store is away");
  else {
    for (const asked of askedRoles) {
      const running = roles.filter((role) => role.role === asked);
      if (running.some((role) => role.ready)) continue;
      const detail = running[0]?.detail;
      problems.push(
        running.length === 0 ? `${asked} does not answer` : `${asked} is not ready${detail ? `: ${detail}` : ""}`,
      );
    }
    if (topics?.problem) problems.push(topics.problem);
    if (results?.paused) problems.push("so many results wait for their topic that no new detections are admitted");
  }
  return {
    ...{ ok: problems.length === 0, problems, ...store, topics },
    ...{ detectionsToPublish: detectionsToPublish(roles), resultsToPublish: results, roles: [...roles] },
  };
}

/** A camera is known by its status, its verdicts, or both. A status that is no longer renewed means: offline. */
export function joinCameras(
  statuses: ReadonlyMap<string, CameraStatus>,
  risks: ReadonlyMap<string, CameraRisk>,
  nowMs: number,
): Map<string, CameraEvent> {
  const ids = [...new Set([...statuses.keys(), ...risks.keys()])].sort();
  return new Map(
    ids.map((cameraId) => {
      const status = statuses.get(cameraId);
      return [
        cameraId,
        { cameraId, status: status ? believed(status, nowMs) : null, risk: risks.get(cameraId) ?? null },
      ];
    }),
  );
}

function believed(status: CameraStatus, nowMs: number): CameraStatus {
  if (nowMs - status.atMs < FRESH_MS || status.state === "offline") return status;
  return { ...status, state: "offline", detail: "its detector does not answer", sinceMs: status.atMs };
}

/** Whether a page would draw the camera differently; frames counted and times renewed are no change. */
export function cameraLooksDifferent(now: CameraEvent, before: CameraEvent | undefined): boolean {
  const drawn = ({ status: s, risk }: CameraEvent) =>
    JSON.stringify([s && [s.name, s.lat, s.lon, s.state, s.detail, s.frameIntervalMs], risk]);
  return before === undefined || drawn(now) !== drawn(before);
}

/** What cannot be read (an older or newer version's) is left out. */
function read<T>(schema: ZodType<T>, json: string): T | null {
  try {
    return schema.safeParse(JSON.parse(json)).data ?? null;
  } catch {
    return null;
  }
}

/** A hash has no order; people and metrics have the same one each time. */
const inOrder = new Intl.Collator("en", { numeric: true }).compare;
const byId = <T>(values: ReadonlyMap<string, T>) => new Map([...values].sort(([a], [b]) => inOrder(a, b)));

const numbers = (hash: Record<string, string>) =>
  new Map(Object.entries(hash).map(([field, count]) => [field, Number(count)]));

function readAll<T>(schema: ZodType<T>, hash: Record<string, string>): Map<string, T> {
  return readOnlyNew(schema)(hash);
}

/** Reads one hash again and again: what stands there as it stood the last time is not read anew, and is the same value. */
function readOnlyNew<T>(schema: ZodType<T>): (hash: Record<string, string>) => Map<string, T> {
  let known = new Map<string, { json: string; value: T | null }>();
  return (hash) => {
    const before = known;
    known = new Map();
    const values = new Map<string, T>();
    for (const [field, json] of Object.entries(hash)) {
      const last = before.get(field);
      const value = last?.json === json ? last.value : read(schema, json);
      known.set(field, { json, value });
      if (value !== null) values.set(field, value);
    }
    return values;
  };
}
