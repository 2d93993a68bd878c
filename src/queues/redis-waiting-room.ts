/** The waiting room in Redis: every step is one Lua call (the scripts of this folder; record.lua has the record's fields). */
import type { Redis } from "ioredis";
import { z } from "zod";
import { VigilaneError } from "../errors.ts";
import { AssessmentTask } from "../messages.ts";
import { policyId } from "../routing-policy.ts";
import type { TaskView } from "../waiting-view.ts";
import { PREFIX, script } from "./lua-scripts.ts";
import { taskTokens } from "./token-estimate.ts";
import { type Admission, type Arrival, contentHash, type WaitingRoom } from "./waiting-room.ts";

const admitScript = script("admit", "reserve");
const sweepScript = script("sweep");
const reopenScript = script("reopen");

/** Most tasks in one Lua call: keeps a call under some ms. */
const ADMIT_CHUNK = 100;
const SWEEP_CHUNK = 200;

export interface WaitingRoomOptions {
  maxWaiting: number;
  /** Does the image store still have this crop? Asked before a retry by hand. Default: yes. */
  hasImage?: (reference: string) => Promise<boolean>;
}

export function createWaitingRoom(
  redis: Redis,
  { maxWaiting, hasImage = async () => true }: WaitingRoomOptions,
): WaitingRoom {
  return {
    async admit(arrivals) {
      const admissions: Admission[] = [];
      let outboxLength = 0;
      // Once also with none: the outbox's length is asked for in that way.
      for (let i = 0; i === 0 || i < arrivals.length; i += ADMIT_CHUNK) {
        const chunk = arrivals.slice(i, i + ADMIT_CHUNK);
        const reply = z
          .array(z.string())
          .parse(await admitScript.run(redis, [PREFIX], [maxWaiting, ...chunk.map(entry)]));
        outboxLength = Number(reply.pop());
        admissions.push(...(reply as Admission[]));
      }
      return { admissions, outboxLength };
    },

    async sweep(dead = []) {
      const reply = await sweepScript.run(redis, [PREFIX], [SWEEP_CHUNK, ...dead]);
      const [expired = 0, lapsed = 0, overdue = 0, orphaned = 0, idle = 0] = z.array(z.number()).parse(reply);
      return { expired, lapsed, overdue, orphaned, idle: idle === 1 };
    },

    async counts() {
      const [waiting, leases, calls] = await Promise.all([
        redis.zcard(`${PREFIX}wait`),
        redis.zcard(`${PREFIX}leases`),
        redis.zcard(`${PREFIX}calls`),
      ]);
      return { waiting, moving: leases, calling: calls };
    },

    async next(limit) {
      const ids = await redis.zrevrange(`${PREFIX}wait`, 0, Math.max(0, limit - 1));
      const views = await Promise.all(ids.map((id) => readTask(redis, id)));
      return views.filter((view) => view !== null);
    },

    task: (taskId) => readTask(redis, taskId),

    async reopen(taskId) {
      const view = await readTask(redis, taskId);
      if (!view) throw new VigilaneError("NO_SUCH_TASK", `task ${taskId} is unknown or was forgotten`);
      const image = view.task?.imageUrl;
      if (image && !(await hasImage(image)))
        throw new VigilaneError("IMAGE_GONE", `the crop of task ${taskId} is gone, so it cannot be judged again`);
      const [word, why, epoch] = z.array(z.string()).parse(await reopenScript.run(redis, [PREFIX], [taskId]));
      if (word !== "ok") throw new VigilaneError("NOT_FAILED", `task ${taskId} cannot be retried: ${why}`);
      return { revision: Number(why), epoch: Number(epoch) };
    },
  };
}

function entry(arrival: Arrival): string {
  const { task, messageId, order, failed, handOver, leftToUs = false } = arrival;
  const tracks = task.objects
    .flatMap(({ trackId }) => (trackId === undefined ? [] : [trackId]))
    .toSorted((a, b) => a - b);
  const fields = {
    id: task.taskId,
    m: messageId,
    h: contentHash(arrival),
    c: String(task.cameraId),
    cap: task.capturedAtMs,
    ord: order,
    fresh: task.freshnessSeconds * 1000,
    reuse: task.reuseSeconds * 1000,
    hash: task.imageHash ?? "",
    score: task.score,
    sig: `${task.bbox.join(",")}|${tracks.join(",")}`,
    img: task.imageUrl ?? "",
    tok: taskTokens(task).join(","),
    pc: policyId(task.routing),
    json: JSON.stringify(task),
    failed: failed ? JSON.stringify(failed) : "",
    over: handOver?.message ?? "",
    inline: handOver?.inline ? "1" : "",
    left: leftToUs ? "1" : "",
  };
  // Lua's JSON refuses lone surrogates; as UTF-8 they are the replacement character anyway.
  return JSON.stringify(fields, (_name, value: unknown) => (typeof value === "string" ? value.toWellFormed() : value));
}

async function readTask(redis: Redis, taskId: string): Promise<TaskView | null> {
  const [record, time] = await Promise.all([redis.hgetall(`${PREFIX}task:${taskId}`), redis.time()]);
  if (!record.s) return null;
  const nowMs = Number(time[0]) * 1000 + Number(time[1]) / 1000;
  const parsed = AssessmentTask.safeParse(record.json ? JSON.parse(record.json) : null);
  const deadlineMs = Number(record.dl ?? 0);
  const moment = (field: string | undefined) => (field ? Number(field) : undefined);
  return {
    taskId,
    state: z.enum(["waiting", "taken", "queued", "calling", "done"]).parse(record.s),
    epoch: Number(record.e ?? 0),
    attempts: Number(record.a ?? 0),
    revision: Number(record.r ?? 1),
    outcome: record.o || null,
    keyGroup: record.kg || null,
    remainingMs: deadlineMs > 0 ? deadlineMs - nowMs : null,
    task: parsed.success ? parsed.data : null,
    timings: {
      capturedAt: Number(record.cap ?? 0),
      ...present("admittedAt", moment(record.ad)),
      ...present("takenAt", moment(record.tk)),
      ...present("startedAt", moment(record.st)),
    },
  };
}

function present<K extends string>(name: K, value: number | undefined): { [P in K]?: number } {
  return value === undefined ? {} : ({ [name]: value } as { [P in K]: number });
}
