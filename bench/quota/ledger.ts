/** Every result that is published, by task: what it became, how often it was told, and when its call began. */
import { AssessmentResult, type Outcome } from "../../src/messages.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { silent } from "../../test/support/pipeline.ts";

export interface Ended {
  outcome: Outcome;
  /** Start of the call that brought the verdict, wall clock of the store, ms; undefined: there was none. */
  startedAtMs: number | undefined;
  /** 1, unless it was published more than once. */
  times: number;
}

export interface Ledger {
  of(taskId: string): Ended | undefined;
  /** Resolves when each of these has a result, or after `forMs`; says which have none and which have more than one. */
  settled(taskIds: readonly string[], forMs: number): Promise<{ lost: string[]; doubled: string[] }>;
  stop(): Promise<void>;
}

export async function startLedger(redisUrl: string): Promise<Ledger> {
  const topics = createRedisTopicLog({ redisUrl, retentionMs: 3_600_000, maxBytesPerTopic: 1e9 }, silent);
  await topics.start();
  await topics.ensureTopic(TOPICS.results);
  const ended = new Map<string, Ended>();
  const stopping = new AbortController();
  let look = () => {};
  const reading = (async () => {
    for await (const message of topics.tail(TOPICS.results, "earliest", stopping.signal)) {
      const { taskId, outcome, metadata } = AssessmentResult.parse(JSON.parse(message.value.toString()));
      const times = (ended.get(taskId)?.times ?? 0) + 1;
      ended.set(taskId, { outcome, startedAtMs: metadata.timings.startedAt, times });
      look();
    }
  })();
  return {
    of: (taskId) => ended.get(taskId),
    async settled(taskIds, forMs) {
      const missing = new Set(taskIds);
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, forMs);
      look = () => {
        for (const id of missing) {
          if (!ended.has(id)) return;
          missing.delete(id);
        }
        resolve();
      };
      look();
      await promise;
      clearTimeout(timer);
      look = () => {};
      return {
        lost: taskIds.filter((id) => !ended.has(id)),
        doubled: taskIds.filter((id) => (ended.get(id)?.times ?? 0) > 1),
      };
    },
    async stop() {
      stopping.abort();
      await reading.catch(() => {});
      await topics.stop();
    },
  };
}
