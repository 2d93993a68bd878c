/** The key groups' queues in BullMQ. */
import { type JobsOptions, Queue } from "bullmq";
import type { Redis } from "ioredis";
import { AssessmentTask } from "../messages.ts";
import { assessmentQueueName, BULLMQ_PREFIX, jobId } from "../names.ts";
import { type AssessmentJob, type AssessmentQueues, cropPath, FAILED_JOB_AGE_MS } from "./assessment-queue.ts";
import type { Taken } from "./quota.ts";

/** BullMQ's `rateLimit` sets the limiter's count to the largest number; no job count comes near this one. */
const COOLING_COUNT = 1_000_000_000;

const JOB_OPTIONS: JobsOptions = {
  attempts: 1,
  removeOnComplete: { age: 86_400, count: 1_000 },
  removeOnFail: { age: FAILED_JOB_AGE_MS / 1000, count: 5_000 },
};

export function createAssessmentQueues(connection: Redis): AssessmentQueues {
  const queues = new Map<string, Queue>();
  const queueOf = (keyGroup: string) => {
    const known = queues.get(keyGroup);
    if (known) return known;
    const queue = new Queue(assessmentQueueName(keyGroup), {
      connection,
      prefix: BULLMQ_PREFIX,
      defaultJobOptions: JOB_OPTIONS,
    });
    queue.on("error", () => {}); // the connection itself reports that the store is away
    queues.set(keyGroup, queue);
    return queue;
  };
  return {
    async add(taken) {
      const byGroup = Map.groupBy(taken, (one) => one.keyGroup);
      await Promise.all([...byGroup].map(([keyGroup, ones]) => queueOf(keyGroup).addBulk(ones.map(toJob))));
    },
    async cool(keyGroup, ms) {
      const queue = queueOf(keyGroup);
      const left = await queue.getRateLimitTtl(COOLING_COUNT);
      if (left < ms) await queue.rateLimit(ms);
    },
    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close()));
    },
  };
}

function toJob(taken: Taken) {
  const task = AssessmentTask.parse(JSON.parse(taken.task));
  const data: AssessmentJob = {
    task,
    lease: { epoch: taken.epoch, keyGroup: taken.keyGroup, keyId: taken.keyId },
    crop: cropPath(task.imageUrl),
  };
  return {
    name: `${taken.cameraId} · group ${task.groupIndex}`,
    data,
    opts: { ...JOB_OPTIONS, jobId: jobId(taken.taskId, taken.epoch) },
  };
}
