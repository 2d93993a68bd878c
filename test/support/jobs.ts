/** Jobs that have ended, in a key group's real queue. */
import { Queue, UnrecoverableError, Worker } from "bullmq";
import { onTestFinished } from "vitest";
import { assessmentQueueName, BULLMQ_PREFIX, jobId } from "../../src/names.ts";
import { type GatewayWorld, taskView } from "./gateway.ts";

/** Runs each task to its end in the group's queue, by a real worker: what is not named good fails. */
export async function runJobs(
  world: GatewayWorld,
  group: string,
  tasks: readonly string[],
  good: readonly string[] = [],
) {
  const connection = world.redis;
  const queue = new Queue(assessmentQueueName(group), { connection, prefix: BULLMQ_PREFIX });
  onTestFinished(() => queue.close());
  const worker = new Worker(
    queue.name,
    async (job) => {
      if (!good.includes(job.data.task.taskId)) throw new UnrecoverableError("no verdict in the answer");
      return { outcome: "assessed", riskLevel: "low" };
    },
    { connection: connection.duplicate(), prefix: BULLMQ_PREFIX },
  );
  const ended = new Promise<void>((resolve) => {
    let left = tasks.length;
    const one = () => {
      left -= 1;
      if (left === 0) resolve();
    };
    worker.on("completed", one);
    worker.on("failed", one);
  });
  for (const taskId of tasks) {
    const outcome = good.includes(taskId) ? "assessed" : "failed";
    world.waiting.tasks.set(taskId, taskView(taskId, { state: "done", outcome, keyGroup: group }));
    const task = { taskId, apiKey: "must-not-be-seen" };
    const crop = `/images/north/2026112314/${taskId}.jpg`;
    await queue.add(`north · ${taskId}`, { task, crop }, { jobId: jobId(taskId, 1), attempts: 1 });
  }
  await ended;
  const { connection: workers } = worker.opts;
  await worker.close();
  (workers as typeof connection).disconnect();
  return queue;
}
