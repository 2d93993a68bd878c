/** The results role: what came out, kept for pages and people; totals; and the end of crops. */

import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import type { ImageStore } from "../images/image-store.ts";
import { during, type Service, service } from "../lifecycle.ts";
import { connectBeside, connectStore } from "../store.ts";
import type { TopicLog } from "../topics/topic-log.ts";
import { type CountTasks, followTotals } from "./follow-totals.ts";
import { endImages, type ImageLimits } from "./image-life.ts";
import { type Kept, keepResults } from "./keep-results.ts";
import { createOlderFrames } from "./older-frames.ts";
import { createResultRecorder } from "./record-result.ts";

export interface ResultsOptions {
  redisUrl: string;
  topics: TopicLog;
  /** Those that hold results: the results topic, and that of revisions where they have one of their own. */
  topicNames: readonly string[];
  group: string;
  /** Unique among living results processes, stable over restarts. */
  consumer: string;
  /** For how long a topic keeps a message, and so for how long it may come again. */
  retentionMs: number;
  images: ImageStore;
  imageLimits: ImageLimits;
  /** Where frames with their verdicts are kept for the older aggregator's readers. Absent: nowhere. */
  olderRedisUrl?: string | undefined;
  /** Made on the role's own connection to the store. */
  countTasks: (redis: Redis) => CountTasks;
}

export function createResultsService(options: ResultsOptions, context: Context): Service & { detail(): string } {
  const kept: Kept = { results: 0, duplicates: 0, deadLetters: 0 };
  const results = service("results", context, async (acquired, signal) => {
    const redis = acquired.add(await connectStore(options.redisUrl, context, {}, signal), "connection", (r) =>
      r.disconnect(),
    );
    await acquired.start(options.images);
    await acquired.start(options.topics);
    const recorder = createResultRecorder(redis, options.retentionMs);
    const { olderRedisUrl } = options;
    const beside = olderRedisUrl === undefined ? undefined : connectBeside(olderRedisUrl, context);
    if (beside) acquired.add(beside, "older readers' Redis", (r) => r.disconnect());
    const older = beside && createOlderFrames(beside);
    for (const topic of options.topicNames) {
      await options.topics.ensureTopic(topic);
      const subscription = options.topics.subscribe(topic, {
        group: options.group,
        consumer: options.consumer,
      });
      const keeping = keepResults(subscription, recorder, kept, context, older);
      acquired.add(subscription, `subscription to ${topic}`, async (s) => {
        await s.close();
        await keeping;
      });
    }
    during(acquired, context, signal, "totals", (until) =>
      followTotals(redis, options.countTasks(redis), context, until),
    );
    during(acquired, context, signal, "end of crops", (until) =>
      endImages(redis, options.images, options.imageLimits, context, until),
    );
  });
  return {
    ...results,
    detail: () => `${kept.results} results, ${kept.duplicates} twice, ${kept.deadLetters} dead letters`,
  };
}
