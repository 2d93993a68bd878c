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
        log.warn(
          { err: error, shard: batch.shard, messages: batch.messages.length },
          "admission failed; the messages come again",
        );
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
    const arrivals: Arrival[] = [];
    for (const message of batch.messages) {
      const reading = readDetection(message.value);
      seen.messages += 1;
      if (reading.kind === "unreadable") {
        seen.deadLetters += 1;
        log.warn(
          { shard: message.shard, position: message.position, why: reading.why },
          "a message that is no detection goes to the dead letters",
        );
        await batch.deadLetter(message, { code: "ENVELOPE_UNREADABLE", message: reading.why });
        continue;
      }
      const { tasks, captureTrusted } = groupsToTasks(
        reading.detection,
        message,
        policyOf(String(reading.detection.cameraId)),
      );
      if (!captureTrusted) seen.captureUntrusted += 1;
      seen.groups += tasks.length;
      const messageId = messageIdOf(reading.detection, message);
      for (const task of tasks) arrivals.push(await toArrival(task, messageId, message, images));
    }
    const { admissions, outboxLength } = await room.admit(arrivals);
    await readmitConflicts(room, arrivals, admissions);
    await batch.acknowledge();
    if (outboxLength > maxOutbox) await rest(detections, room, maxOutbox);
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
  return { task: complete, messageId, order: `${message.shard}-${message.position}`, ...(failed && { failed }) };
}
