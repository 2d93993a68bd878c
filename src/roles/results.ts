/** The role results. Wires topics, images and the waiting room's counts into it. */

import type { Context } from "../context.ts";
import { FAILED_JOB_AGE_MS } from "../queues/assessment-queue.ts";
import { createWaitingRoom } from "../queues/redis-waiting-room.ts";
import { createResultsService } from "../results/results.ts";
import type { Settings } from "../settings.ts";
import { openTopicLog } from "../topics/open-topic-log.ts";
import { TOPICS } from "../topics/topic-log.ts";
import { openImageStore } from "./open-image-store.ts";
import { instanceName, storeUrl } from "./places.ts";
import type { RoleService } from "./role-service.ts";

const HOUR_MS = 3_600_000;

export function createResults(settings: Settings, context: Context): RoleService & { detail(): string } {
  const redisUrl = storeUrl(settings);
  const topics = openTopicLog(settings, redisUrl, context);
  const retentionMs = settings.topicRetentionHours * HOUR_MS;
  const results = createResultsService(
    {
      redisUrl,
      topics,
      topicNames: settings.olderConsumers ? [TOPICS.results, TOPICS.revisions] : [TOPICS.results],
      group: settings.resultsGroup,
      consumer: instanceName("results"),
      retentionMs,
      images: openImageStore(settings, context),
      imageLimits: { maxBytes: settings.imagesMaxBytes, maxAgeMs: FAILED_JOB_AGE_MS + 24 * HOUR_MS },
      olderRedisUrl: settings.olderRedis === "all" ? (settings.olderRedisUrl ?? redisUrl) : undefined,
      countTasks: (redis) => {
        const room = createWaitingRoom(redis, { maxWaiting: settings.maxWaiting });
        return () => room.counts();
      },
    },
    context,
  );
  return { ...results, topicTrouble: () => topics.trouble() };
}
