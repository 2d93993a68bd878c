/** Leases in Redis: every step is one Lua call (the scripts of this folder; record.lua has the keys). */
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Clock } from "../context.ts";
import { policyId, type RoutingPolicy } from "../routing-policy.ts";
import { dayStarts } from "./calendar.ts";
import { keyGroupEvent } from "./key-group-events.ts";
import { DEFAULT_RESERVE, DEFAULT_ROUTING, registration } from "./key-groups.ts";
import { PREFIX, script } from "./lua-scripts.ts";
import type { Ending, Quota, Taken } from "./quota.ts";
import { SpentLately } from "./spent-lately.ts";
import { windowsByAccount, zonesOf } from "./window.ts";

const registerScript = script("register", "policies");
const takeScript = script("take", "run", "key-state", "choose", "reserve");
const markQueuedScript = script("mark-queued");
const spendScript = script("spend", "run");
const snapshotScript = script("snapshot");
const stirringScript = script("stirring");
const leavingScript = script("leaving");
const probeNowScript = script("probe-now");
const restampScript = script("restamp");
export const settleScript = script("settle", "key-state", "guard", "note-change");

/** An unspent lease lapses after so long: more than any queue and event loop needs, less than a person notices. */
const LEASE_MS = 1_000;
/** A lease is granted so long before its place in the windows: about what the way to the worker takes. */
const AHEAD_MS = 30;
/** Waits for that place, each under 100 ms; more means that something else takes the places. */
const MOST_WAITS = 4;

/** `lately`: where what is spent is noted. */
export function createQuota(
  redis: Redis,
  clock: Pick<Clock, "monotonicMs" | "sleep">,
  lately: SpentLately = new SpentLately(),
): Quota {
  async function storeNowMs(): Promise<number> {
    const [seconds, micros] = await redis.time();
    return Number(seconds) * 1000 + Number(micros) / 1000;
  }

  /** The store's clock, and not ours, says which day it is. */
  async function calendarOf(zones: readonly string[]): Promise<[zone: string, starts: string][]> {
    if (zones.length === 0) return [];
    const nowMs = await storeNowMs();
    return zones.map((zone) => [zone, dayStarts(zone, nowMs).join(",")]);
  }

  async function lookAt(which: "all" | "some", also: readonly string[] = []) {
    const reply = await snapshotScript.run(redis, [PREFIX], [which, ...also]);
    const [others, atMs, ...groups] = Looked.parse(reply);
    return { others, atMs: Number(atMs), groups: groups.map(keyGroupEvent).toSorted((a, b) => (a.id < b.id ? -1 : 1)) };
  }

  return {
    async register(groups, { routing = DEFAULT_ROUTING, policies = [], ...lives }, renewed = []) {
      const accounts = windowsByAccount(groups);
      const calendar = Object.fromEntries(await calendarOf(zonesOf(groups)));
      const records = groups.map((group) => {
        const keys = renewed.filter(({ keyGroup }) => keyGroup === group.id).map(({ keyId }) => keyId);
        return { ...registration({ ...group, ...accounts.get(group.account) }, routing), renewed: keys.join(",") };
      });
      const told = new Map(policies.map((policy) => [policyId(policy), policy]));
      told.delete("");
      const spans = new Set([...accounts.values()].flatMap(({ windows }) => windows.map(({ windowMs }) => windowMs)));
      const reserve = { reserve: routing.reserve ?? DEFAULT_RESERVE, spans: [...spans].join(",") };
      const settings = {
        ...lives,
        ...reserve,
        routing: routing.strategy,
        policies: Object.fromEntries(told),
        calendar,
      };
      const unserved = Texts.parse(
        await registerScript.run(
          redis,
          [PREFIX],
          [settings, ...records].map((one) => JSON.stringify(one)),
        ),
      );
      return { unserved };
    },

    async renewCalendar(groups) {
      const calendar = await calendarOf(zonesOf(groups));
      if (calendar.length > 0) await redis.hset(`${PREFIX}calendar`, Object.fromEntries(calendar));
    },

    async renewPolicies(policies) {
      const ids = idsOf(policies);
      if (ids.length === 0) return true;
      const known = await redis.hmget(`${PREFIX}policies`, ...ids);
      if (known.includes(null)) return false;
      const nowMs = await storeNowMs();
      await redis.hset(`${PREFIX}policies-told`, Object.fromEntries(ids.map((id) => [id, nowMs])));
      return true;
    },

    async hold(keys, forMs) {
      const names = keys.map(({ keyGroup, keyId }) => `${keyGroup}/${keyId}`);
      if (names.length === 0) return;
      if (forMs <= 0) {
        await redis.hdel(`${PREFIX}held`, ...names);
        return;
      }
      const until = (await storeNowMs()) + forMs;
      await redis.hset(`${PREFIX}held`, Object.fromEntries(names.map((name) => [name, until])));
    },

    async probeNow(keys) {
      const args = keys.flatMap(({ keyGroup, keyId }) => [keyGroup, keyId]);
      await probeNowScript.run(redis, [PREFIX], args);
    },

    async take(most) {
      const [wait, ...rest] = z
        .array(z.union([z.string(), z.array(z.string())]))
        .parse(await takeScript.run(redis, [PREFIX], [most, LEASE_MS, AHEAD_MS]));
      const waitMs = Number(wait);
      return { taken: rest.filter((one) => Array.isArray(one)).map(readTaken), waitMs: waitMs < 0 ? null : waitMs };
    },

    async markQueued(taken) {
      await markQueuedScript.run(
        redis,
        [PREFIX],
        taken.flatMap(({ taskId, epoch }) => [taskId, epoch]),
      );
    },

    async spend({ keyGroup, taskId, epoch }, worker, callTimeoutMs, stalled) {
      let granted = 0;
      let waits = 0;
      for (;;) {
        const askedMs = clock.monotonicMs();
        const flags = [granted > 0, stalled, waits < MOST_WAITS].map(Number);
        const reply = await spendScript.run(redis, [PREFIX], [taskId, epoch, worker, callTimeoutMs, ...flags]);
        const [
          kind,
          a = "",
          b = "",
          guard = "0",
          keyId = "",
          unreadable = "",
          bound = "0",
          startedAt = "",
          refusals = "0",
          probes = "",
        ] = Texts.parse(reply);
        if (kind === "back") return { kind, why: a, became: b };
        if (kind === "wait") {
          waits += 1;
          await clock.sleep(Number(a));
          continue;
        }
        if (kind === "failed") return { kind };
        if (kind !== "granted") return { kind: "stale", why: a };
        granted += 1;
        lately.spent({ keyGroup, taskId, epoch }, startedAt, Number(a), clock.monotonicMs());
        // The stamp may be older than the guard allows by the time that we know of it: stamped anew, twice at most.
        if (granted < 3 && clock.monotonicMs() - askedMs > Math.max(Number(guard), 5)) continue;
        return {
          kind,
          timeoutMs: Number(a),
          boundByDeadline: bound === "1",
          cutShort: bound === "2",
          attempts: Number(b),
          refusals: Number(refusals),
          startedAt,
          keyId,
          unreadable: unreadable ? Unreadable.parse(JSON.parse(unreadable)) : null,
          probes: z.array(z.enum(["group", "key"])).parse(probes.split(",").filter(Boolean)),
        };
      }
    },

    async restamp({ taskId, epoch }) {
      lately.sent({ taskId, epoch }, clock.monotonicMs());
      await restampScript.run(redis, [PREFIX], [taskId, epoch]);
    },

    async settle(lease, ending, feedback) {
      const learned = feedback
        ? JSON.stringify({
            group: feedback.keyGroup,
            key: feedback.keyId,
            called: feedback.called,
            ok: feedback.ok,
            latencyMs: Math.round(feedback.latencyMs),
            ...(feedback.tokens !== undefined && { tokens: Math.max(0, Math.round(feedback.tokens)) }),
            ...(feedback.tokens !== undefined &&
              feedback.promptTokens !== undefined && { promptTokens: Math.max(0, Math.round(feedback.promptTokens)) }),
            ...(feedback.code && { code: feedback.code, ...(feedback.reason && { reason: feedback.reason }) }),
            ...(feedback.startedAt && { startedAt: feedback.startedAt }),
            rate: feedback.rateRefusal ?? false,
            early: feedback.cameTooEarly ?? false,
            refund: feedback.takesNoPlace ?? false,
            ...(feedback.networkMs != null && { networkMs: Math.round(feedback.networkMs * 100) / 100 }),
            ...(feedback.says && { says: feedback.says }),
            ...(feedback.probes?.length && { probe: feedback.probes.join(",") }),
            random: feedback.random ?? 0.5,
          })
        : "";
      const args = [
        lease.taskId,
        lease.epoch,
        ending.kind,
        ...textsOf(ending),
        learned,
        ending.kind === "back" ? ending.avoidMs : 0,
      ];
      lately.ended(lease, ending.kind === "assessed" ? args : null, clock.monotonicMs());
      const [kind = "stale", word = "", rests = "0"] = Texts.parse(await settleScript.run(redis, [PREFIX], args));
      return { kind: z.enum(["done", "back", "stale"]).parse(kind), word, restMs: Number(rests) };
    },

    async stirring(withinMs, everyQueue) {
      return Texts.parse(await stirringScript.run(redis, [PREFIX], [withinMs, everyQueue ? "1" : "0"]));
    },

    async leaving() {
      if ((await redis.exists(`${PREFIX}leaving`)) === 0) return [];
      return Texts.parse(await leavingScript.run(redis, [PREFIX], []));
    },

    async snapshot() {
      return (await lookAt("all")).groups;
    },

    look: (also) => lookAt("some", also),
  };
}

/** Of those that have one: the policy that allows all has none. */
const idsOf = (policies: readonly RoutingPolicy[]) => [...new Set(policies.map(policyId))].filter((id) => id !== "");

function textsOf(ending: Ending): [verdict: string, error: string, meta: string] {
  switch (ending.kind) {
    case "assessed":
      return [JSON.stringify(ending.verdict), "", JSON.stringify(ending.meta)];
    case "failed":
    case "expired":
      return ["", JSON.stringify(ending.error), JSON.stringify(ending.meta)];
    case "back":
      return [ending.unreadable ? JSON.stringify(ending.unreadable) : "", "", ""];
    default:
      return ending satisfies never;
  }
}

function readTaken(one: string[]): Taken {
  const [
    taskId = "",
    epoch = "0",
    keyGroup = "",
    keyId = "",
    attempts = "0",
    remaining = "0",
    cameraId = "",
    task = "",
  ] = one;
  const remainingMs = Number(remaining);
  return {
    taskId,
    epoch: Number(epoch),
    keyGroup,
    keyId,
    attempts: Number(attempts),
    remainingMs: remainingMs > 0 ? remainingMs : null,
    cameraId,
    task,
  };
}

const Texts = z.array(z.string());
const Looked = z.tuple([z.string(), z.string()], Texts);
const Unreadable = z.object({ text: z.string(), why: z.string() });
