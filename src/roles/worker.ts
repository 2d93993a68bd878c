/** The worker's role: holds the keys, spends the leases, calls the vision LLM. */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { createKeySetWatch } from "../keys/key-set-watch.ts";
import type { KeySet } from "../keys/load-key-set.ts";
import { during, loop, type Service, service } from "../lifecycle.ts";
import { KEYS } from "../names.ts";
import { assessGroup } from "../processors/assess-group.ts";
import { createGroupWorkers } from "../processors/group-workers.ts";
import { createVisionClients } from "../processors/vision-clients.ts";
import { createAssessmentQueues } from "../queues/bullmq-assessment-queue.ts";
import { type CallPolicy, DEFAULT_RETRY } from "../queues/call-policy.ts";
import type { KeyGroup } from "../queues/key-groups.ts";
import { createQuota } from "../queues/redis-quota.ts";
import { createWaitingRoom } from "../queues/redis-waiting-room.ts";
import { SpentLately } from "../queues/spent-lately.ts";
import { putBack } from "../queues/store-forgot.ts";
import type { Settings } from "../settings.ts";
import { connectStore } from "../store.ts";
import { followRun } from "../store-run.ts";
import { openImageStore } from "./open-image-store.ts";
import { instanceName, isStartedByUp, storeUrl } from "./places.ts";

/** Keys count as held for so long after the last word of their worker. */
const HOLD_MS = 6_000;
const GRACE_MS = 4_000;

export function createWorker(settings: Settings, context: Context): Service & { detail(): string } {
  const keys = createKeySetWatch(settings, context, { atStart: isStartedByUp(), ofChanges: isStartedByUp() });
  let groups: readonly KeyGroup[] = [];
  let policy: CallPolicy;
  let inFlight = () => 0;
  const base = service("worker", context, async (acquired, signal) => {
    const set = await keys.load();
    groups = set.groups;
    policy = policyOf(set, settings);
    const url = storeUrl(settings);
    const redis = acquired.add(await connectStore(url, context, {}, signal), "store connection", (r) => r.disconnect());
    const signals = acquired.add(await connectStore(url, context, {}, signal), "signals", (r) => r.disconnect());
    const images = await acquired.start(openImageStore(settings, context));
    const callTimeoutMs = settings.callTimeoutSeconds * 1000;
    const clients = acquired.add(createVisionClients(callTimeoutMs, context), "vision clients", (c) => c.close());
    clients.use(groups);
    const lately = new SpentLately();
    const quota = createQuota(redis, context.clock, lately);
    await followRun(redis, context, signal, () => putBack(redis, lately, context.clock.monotonicMs()));
    const queues = acquired.add(createAssessmentQueues(redis), "queues", (q) => q.close());
    const parts = {
      quota,
      images,
      room: createWaitingRoom(redis, { maxWaiting: settings.maxWaiting }),
      clientOf: clients.clientOf,
      isSimulated: (keyGroup: string) => groups.find((group) => group.id === keyGroup)?.simulated ?? false,
      // Of a group that is gone the stricter is taken.
      refusedCallsCount: (keyGroup: string) => groups.find(({ id }) => id === keyGroup)?.refusedCallsCount ?? true,
      cool: (keyGroup: string, ms: number) => queues.cool(keyGroup, ms),
      worker: `${instanceName("worker")}:${process.pid}`,
      callTimeoutMs,
      policyOf: () => policy,
      random: Math.random,
    };
    await signals.subscribe(KEYS.wakeWorker);
    const workers = createGroupWorkers(
      {
        groups,
        redis,
        onWake: (listener) => onMessage(signals, listener),
        stirring: (withinMs, everyQueue) => quota.stirring(withinMs, everyQueue),
        leaving: () => quota.leaving(),
        assess: (job) => assessGroup(job, parts, context),
        graceMs: GRACE_MS,
      },
      context,
    );
    await acquired.start(workers);
    await quota.hold(keysOf(groups), HOLD_MS);
    await quota.probeNow(keysOf(groups));
    const holding = loop(context, signal, "holding keys", async () => {
      await context.clock.sleep(HOLD_MS / 3, signal);
      await quota.hold(keysOf(groups), HOLD_MS);
    });
    acquired.add(holding, "holding keys", async (done) => {
      await done;
      await quota.hold(keysOf(groups), 0).catch(() => {});
    });
    let held = keysOf(groups);
    during(acquired, context, signal, "keys' file", (until) =>
      keys.follow(async (nextSet) => {
        const next = nextSet.groups;
        policy = policyOf(nextSet, settings);
        // New keys are ready before a lease can name them; no lease names the old ones any more.
        clients.use(next);
        workers.use(next);
        groups = next;
        const now = keysOf(next);
        const stay = new Set(now.map(({ keyGroup, keyId }) => `${keyGroup}/${keyId}`));
        const leave = held.filter(({ keyGroup, keyId }) => !stay.has(`${keyGroup}/${keyId}`));
        await quota.hold(leave, 0);
        await quota.hold(now, HOLD_MS);
        held = now;
      }, until),
    );
    inFlight = workers.inFlight;
  });
  return Object.assign(base, {
    detail: () =>
      [`${groups.length} key groups, ${inFlight()} calls in flight`, keys.problem()].filter(Boolean).join("; "),
  });
}

/** What the file says of trying again is an older file's, and wins. */
const policyOf = ({ policy: { cooling, maxRetries } }: KeySet, { maxAttempts }: Settings): CallPolicy => ({
  cooling,
  retry: { ...DEFAULT_RETRY, maxRetries: maxRetries ?? maxAttempts - 1 },
});

type HeldKey = { keyGroup: string; keyId: string };

const keysOf = (groups: readonly KeyGroup[]): HeldKey[] =>
  groups.flatMap((group) => group.keys.map((key) => ({ keyGroup: group.id, keyId: key.id })));

function onMessage(signals: Redis, listener: (message: string) => void): () => void {
  const handler = (_channel: string, message: string) => listener(message);
  signals.on("message", handler);
  return () => signals.off("message", handler);
}
