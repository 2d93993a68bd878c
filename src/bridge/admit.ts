/** Admits each detection's groups to the waiting room, then acknowledges. At least once; `admit` is idempotent by task id. */
import type { CameraPolicy } from "../cameras.ts";
import type { Context } from "../context.ts";
import { type ImageStore, safeName } from "../images/image-store.ts";
import { abortOf } from "../lifecycle.ts";
import type { AssessmentTask } from "../messages.ts";
import type { Arrival, WaitingRoom } from "../queues/waiting-room.ts";
import { contentHash } from "../queues/waiting-room.ts";
import type { Batch, Subscription, TopicMessage } from "../topics/topic-log.ts";
import { groupsToTasks, messageIdOf, type NewTask } from "./groups-to-tasks.ts";
import { readDetection } from "./read-detection.ts";

/** Of the largest offset that Kafka can have. */
const ORDER_DIGITS = 19;

export interface AdmitParts {
  detections: Subscription;
  room: WaitingRoom;
  images: ImageStore;
  policyOf: (cameraId: string) => CameraPolicy;
  /** At this length of the outbox admission pauses until it has drained to half. */
  maxOutbox: number;
}

export interface AdmitCounts {
  messages: number;
  groups: number;
  deadLetters: number;
  /** Groups that were known already: their message came again. */
  again: number;
  /** Messages whose capture time could not be believed. */
  captureUntrusted: number;
}

/**
 * Runs until `signal` aborts: then no new batches are taken, those that are out are ended, and the subscription is closed.
 * Shards side by side, each shard's batches in order.
 */
export async function admitDetections(
  parts: AdmitParts,
  { clock, log }: Context,
  signal: AbortSignal,
  counts: AdmitCounts,
): Promise<void> {
  const atWork = new Set<Promise<void>>();
  const closing = (async () => {
    await abortOf(signal);
    parts.detections.pause();
    await Promise.all(atWork);
    await parts.detections.close();
  })();
  for await (const batch of parts.detections.batches()) {
    const work = admitBatch(batch, parts, counts)
      .catch(async (error) => {
        log.warn({ err: error, shard: batch.shard, messages: batch.messages.length }, "admission failed; comes again");
        await batch.giveBack(500).catch(() => {});
      })
      .finally(() => atWork.delete(work));
    atWork.add(work);
    if (atWork.size >= 16) await Promise.race(atWork);
  }
  await closing;

  async function admitBatch(
    batch: Batch,
    { room, images, policyOf, maxOutbox, detections }: AdmitParts,
    seen: AdmitCounts,
  ) {
    const arrivals = new Map<TopicMessage, Arrival[]>();
    for (const message of batch.messages) {
      const reading = readDetection(message.value);
      seen.messages += 1;
      if (reading.kind === "unreadable") {
        await toDeadLetters(batch, message, reading.why, seen);
        continue;
      }
      const policy = policyOf(String(reading.detection.cameraId));
      const { tasks, captureTrusted } = groupsToTasks(reading.detection, message, policy);
      if (!captureTrusted) seen.captureUntrusted += 1;
      seen.groups += tasks.length;
      const messageId = messageIdOf(reading.detection, message);
      arrivals.set(message, await Promise.all(tasks.map((task) => toArrival(task, messageId, message, images))));
    }
    let outboxLength = 0;
    try {
      outboxLength = await admitAll(room, [...arrivals.values()].flat(), seen);
    } catch (error) {
      if (!isFaultOfMessage(error)) throw error;
      for (const [message, some] of arrivals) await admitAlone(batch, message, some, room, seen);
    }
    await batch.acknowledge();
    if (outboxLength > maxOutbox) await rest(detections, room, maxOutbox);
  }

  async function admitAll(room: WaitingRoom, arrivals: Arrival[], seen: AdmitCounts): Promise<number> {
    const { admissions, outboxLength } = await room.admit(arrivals);
    seen.again += admissions.filter((admission) => admission === "known").length;
    await readmitConflicts(room, arrivals, admissions);
    return outboxLength;
  }

  /** One message among others cannot be admitted: it must not hold up its shard, and its groups still get their outcomes. */
  async function admitAlone(
    batch: Batch,
    message: TopicMessage,
    arrivals: Arrival[],
    room: WaitingRoom,
    seen: AdmitCounts,
  ) {
    try {
      await admitAll(room, arrivals, seen);
    } catch (error) {
      if (!isFaultOfMessage(error)) throw error;
      const why = `cannot be admitted: ${error instanceof Error ? error.message.slice(0, 200) : String(error)}`;
      await room.admit(arrivals.map((arrival) => bareFailure(arrival, "GROUP_UNREADABLE", why))).catch(() => {});
      await toDeadLetters(batch, message, why, seen);
    }
  }

  async function toDeadLetters(batch: Batch, message: TopicMessage, why: string, seen: AdmitCounts) {
    seen.deadLetters += 1;
    const { shard, position } = message;
    log.warn({ shard, position, why }, "a message that is no detection goes to the dead letters");
    await batch.deadLetter(message, { code: "ENVELOPE_UNREADABLE", message: why });
  }

  /** The same id with another content gets an id of its own, made from the content, so that it too has its one outcome. */
  async function readmitConflicts(room: WaitingRoom, arrivals: Arrival[], admissions: string[]) {
    const again = arrivals.flatMap((arrival, i) => {
      if (admissions[i] !== "conflict") return [];
      const taskId = `${arrival.task.taskId}~${contentHash(arrival.task).slice(0, 8)}`;
      log.warn({ taskId: arrival.task.taskId, newTaskId: taskId }, "a task id came again with another content");
      return [{ ...arrival, task: { ...arrival.task, taskId } }];
    });
    if (again.length > 0) await room.admit(again);
  }

  async function rest(detections: Subscription, room: WaitingRoom, maxOutbox: number) {
    log.warn({ maxOutbox }, "the outbox is full: admission pauses until results can be written again");
    detections.pause();
    try {
      while (!signal.aborted && (await room.admit([])).outboxLength > maxOutbox / 2) await clock.sleep(250, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      detections.resume();
    }
  }
}

/** Each group of a message that is given up ends as failed, with this reason. For messages that end their process. */
export async function failGroups(
  message: TopicMessage,
  reason: { code: string; message: string },
  room: WaitingRoom,
): Promise<void> {
  const reading = readDetection(message.value);
  if (reading.kind === "unreadable") return;
  const { tasks } = groupsToTasks(reading.detection, message, { freshnessSeconds: 0, reuseSeconds: 0 });
  const messageId = messageIdOf(reading.detection, message);
  const failed = tasks.map(({ task }) => ({ task, messageId, order: "" }));
  await room.admit(failed.map((arrival) => bareFailure(arrival, reason.code, reason.message)));
}

/** Only what a result needs: whatever else the task holds may be what was wrong. */
function bareFailure({ task, messageId, order }: Arrival, code: string, message: string): Arrival {
  const bare = { ...task, objects: [], memberIndices: [], features: null, imageUrl: null, imageHash: null };
  return { task: bare, messageId, order, failed: { code, message } };
}

/** The store is there and well, but this content is too much for our own code or for the script. */
function isFaultOfMessage(error: unknown): boolean {
  if (error instanceof RangeError || error instanceof TypeError || error instanceof SyntaxError) return true;
  return (
    error instanceof Error &&
    error.name === "ReplyError" &&
    /user_script|error running script/i.test(error.message) &&
    !/OOM|READONLY|LOADING/.test(error.message)
  );
}

/** The place in the log as text that is compared as text, number by number, so that 10 comes after 9. */
function orderOf({ shard, position }: TopicMessage): string {
  return `${shard}-${position.replaceAll(/\d+/g, (number) => number.padStart(ORDER_DIGITS, "0"))}`;
}

async function toArrival(
  { task, inlineImage, failed }: NewTask,
  messageId: string,
  message: TopicMessage,
  images: ImageStore,
): Promise<Arrival> {
  const stored =
    inlineImage && !failed
      ? await images.put(safeName(String(task.cameraId)), safeName(task.taskId), inlineImage)
      : null;
  const complete: AssessmentTask = stored ? { ...task, imageUrl: stored } : task;
  return { task: complete, messageId, order: orderOf(message), ...(failed && { failed }) };
}
