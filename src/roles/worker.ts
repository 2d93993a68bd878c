/** The worker's role: holds the keys, spends the leases, calls the vision LLM. */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { createFolderImageStore } from "../images/folder-image-store.ts";
import { loop, type Service, service } from "../lifecycle.ts";
import { KEYS } from "../names.ts";
import { assessGroup } from "../processors/assess-group.ts";
import { createFailureShares } from "../processors/failure-share.ts";
import { createGroupWorkers } from "../processors/group-workers.ts";
import { createVisionClient, type VisionClient } from "../processors/vision-client.ts";
import { createAssessmentQueues } from "../queues/bullmq-assessment-queue.ts";
import { DEFAULT_COOLING, DEFAULT_RETRY } from "../queues/call-policy.ts";
import { type KeyGroup, loadKeyGroups } from "../queues/key-groups.ts";
import { createQuota } from "../queues/redis-quota.ts";
import { createWaitingRoom } from "../queues/redis-waiting-room.ts";
import { SpentLately } from "../queues/spent-lately.ts";
import { putBack } from "../queues/store-forgot.ts";
import { ANSWER_TOKENS } from "../queues/token-estimate.ts";
import type { Settings } from "../settings.ts";
import { connectStore } from "../store.ts";
import { followRun } from "../store-run.ts";
import { imagesFolder, instanceName, storeUrl } from "./places.ts";

/** Keys count as held for so long after the last word of their worker. */
const HOLD_MS = 4_000;
const GRACE_MS = 4_000;

export function createWorker(settings: Settings, context: Context): Service & { detail(): string } {
  const groups = loadKeyGroups(settings);
  const policy = {
    cooling: DEFAULT_COOLING,
    retry: { ...DEFAULT_RETRY, maxRetries: settings.maxAttempts - 1 },
  };
  let inFlight = () => 0;
  const base = service("worker", context, async (acquired, signal) => {
    const url = storeUrl(settings);
    const redis = acquired.add(await connectStore(url, context, {}, signal), "store connection", (r) => r.disconnect());
    const signals = acquired.add(await connectStore(url, context, {}, signal), "signals", (r) => r.disconnect());
    const images = await acquired.start(createFolderImageStore({ folder: imagesFolder(settings) }, context));
    const clients = acquired.add(visionClients(groups, settings, context), "vision clients", closeClients);
    const lately = new SpentLately();
    const quota = createQuota(redis, context.clock, lately);
    await followRun(redis, context, signal, () => putBack(redis, lately, context.clock.monotonicMs()));
    const queues = acquired.add(createAssessmentQueues(redis), "queues", (q) => q.close());
    const parts = {
      quota,
      images,
      room: createWaitingRoom(redis, { maxWaiting: settings.maxWaiting }),
      clientOf: (keyGroup: string, keyId: string) => clients.get(`${keyGroup}/${keyId}`),
      isSimulated: (keyGroup: string) => groups.find((group) => group.id === keyGroup)?.simulated ?? false,
      cool: (keyGroup: string, ms: number) => queues.cool(keyGroup, ms),
      worker: `${instanceName("worker")}:${process.pid}`,
      callTimeoutMs: settings.callTimeoutSeconds * 1000,
      policyOf: () => policy,
      failures: createFailureShares(context.clock),
      random: Math.random,
    };
    await signals.subscribe(KEYS.wakeWorker);
    const workers = createGroupWorkers(
      {
        groups,
        redis,
        onWake: (listener) => onMessage(signals, listener),
        stirring: (withinMs) => quota.stirring(withinMs),
        leaving: () => quota.leaving(),
        assess: (job) => assessGroup(job, parts, context),
        graceMs: GRACE_MS,
      },
      context,
    );
    const held = groups.flatMap((group) => group.keys.map((key) => ({ keyGroup: group.id, keyId: key.id })));
    await acquired.start(workers);
    await quota.hold(held, HOLD_MS);
    const holding = loop(context, signal, "holding keys", async () => {
      await context.clock.sleep(HOLD_MS / 4, signal);
      await quota.hold(held, HOLD_MS);
    });
    acquired.add(holding, "holding keys", async (done) => {
      await done;
      await quota.hold(held, 0).catch(() => {});
    });
    inFlight = workers.inFlight;
  });
  return Object.assign(base, { detail: () => `${groups.length} key groups, ${inFlight()} calls in flight` });
}

function visionClients(groups: readonly KeyGroup[], settings: Settings, context: Context): Map<string, VisionClient> {
  const timeoutMs = settings.callTimeoutSeconds * 1000;
  return new Map(
    groups.flatMap((group) =>
      group.keys.map((key): [string, VisionClient] => [
        `${group.id}/${key.id}`,
        createVisionClient(
          {
            baseUrl: group.baseUrl,
            secret: key.secret,
            model: group.model,
            provider: group.provider,
            timeoutMs,
            maxTokens: ANSWER_TOKENS,
          },
          context,
        ),
      ]),
    ),
  );
}

async function closeClients(clients: Map<string, VisionClient>) {
  await Promise.all([...clients.values()].map((client) => client.close()));
}

function onMessage(signals: Redis, listener: (message: string) => void): () => void {
  const handler = (_channel: string, message: string) => listener(message);
  signals.on("message", handler);
  return () => signals.off("message", handler);
}
