/**
 * Admits each detection's groups to the waiting room, then acknowledges. At least once; `admit` is idempotent by task id. What
 * comes from the tasks topic instead is read as detections of one group each.
 */
import { createHash } from "node:crypto";
import type { CameraPolicy } from "../cameras.ts";
import type { Context } from "../context.ts";
import { type ImageStore, safeName } from "../images/image-store.ts";
import { abortOf } from "../lifecycle.ts";
import type { AssessmentTask } from "../messages.ts";
import type { Arrival, WaitingRoom } from "../queues/waiting-room.ts";
import { contentHash } from "../queues/waiting-room.ts";
import type { Batch, Subscription, TopicMessage } from "../topics/topic-log.ts";
import { groupToTaskMessage } from "./group-to-task-message.ts";
import { groupsToTasks, messageIdOf, type NewTask } from "./groups-to-tasks.ts";
import type { ReadDetection, Reading } from "./read-detection.ts";

/** Tasks of one call of the store. While it works on those, the next messages are read. */
const ADMIT_AT_ONCE = 100;
/** Of the largest offset that Kafka can have. */
const ORDER_DIGITS = 19;

export interface AdmitParts {
  detections: Subscription;
  /** How a message of that topic is read. */
  read: (value: Buffer) => Reading;
  /** That topic is the tasks'. */
  leftToUs: boolean;
  room: WaitingRoom;
  images: ImageStore;
  policyOf: (cameraId: string) => CameraPolicy;
  /** Cameras whose groups others judge. */
  isJudgedElsewhere: (cameraId: string) => boolean;
  /** Those others cannot look into our image store. */
  inlineImages: boolean;
  /** At this length of the outbox admission pauses until it has drained to half. */
  maxOutbox: number;
}

export interface AdmitCounts {
  messages: number;
  groups: number;
  deadLetters: number;
  /** Groups that were known already: their message came again. */
  again: number;
  /** Groups that others judge. */
  handed: number;
  /** Messages whose capture time could not be believed. */
  captureUntrusted: number;
  /** Above 0: admission pauses, since the outbox is full. */
  resting: number;
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

  async function admitBatch(batch: Batch, parts: AdmitParts, seen: AdmitCounts) {
    const { room, maxOutbox } = parts;
    let admitting = Promise.resolve(0);
    let read = new Map<TopicMessage, Arrival[]>();
    let tasks = 0;
    try {
      for (const message of batch.messages) {
        const arrivals = await readMessage(batch, message, parts, seen);
        if (tasks > 0 && tasks + arrivals.length > ADMIT_AT_ONCE) {
          await admitting;
          admitting = admitSome(batch, read, room, seen);
          admitting.catch(() => {}); // told where it is awaited
          read = new Map();
          tasks = 0;
        }
        read.set(message, arrivals);
        tasks += arrivals.length;
      }
    } finally {
      await admitting.catch(() => {}); // before a batch is given back nothing of it is at work any more
    }
    const before = await admitting;
    const outboxLength = tasks > 0 ? await admitSome(batch, read, room, seen) : before;
    // Paused before the end is noted, since the next batch may come with it.
    const resting = outboxLength > maxOutbox ? rest(parts.detections, room, maxOutbox, seen) : undefined;
    await Promise.all([batch.acknowledge(), resting]);
  }

  /** The message's groups as they go to the store; none where it goes to the dead letters. */
  async function readMessage(batch: Batch, message: TopicMessage, parts: AdmitParts, seen: AdmitCounts) {
    const reading = parts.read(message.value);
    seen.messages += 1;
    if (reading.kind === "unreadable") {
      await toDeadLetters(batch, message, reading.why, seen);
      return [];
    }
    const policy = parts.policyOf(String(reading.detection.cameraId));
    const { tasks, captureTrusted } = groupsToTasks(reading.detection, message, policy);
    if (!captureTrusted) seen.captureUntrusted += 1;
    seen.groups += tasks.length;
    const messageId = messageIdOf(reading.detection, message);
    return Promise.all(tasks.map((task, i) => toArrival(task, i, reading.detection, messageId, message, parts)));
  }

  /** Resolves with the outbox's length. */
  async function admitSome(
    batch: Batch,
    arrivals: ReadonlyMap<TopicMessage, Arrival[]>,
    room: WaitingRoom,
    seen: AdmitCounts,
  ): Promise<number> {
    try {
      return await admitAll(room, [...arrivals.values()].flat(), seen);
    } catch (error) {
      if (!isFaultOfMessage(error)) throw error;
      for (const [message, some] of arrivals) await admitAlone(batch, message, some, room, seen);
      return 0;
    }
  }

  async function admitAll(room: WaitingRoom, arrivals: Arrival[], seen: AdmitCounts): Promise<number> {
    if (arrivals.length === 0) return 0;
    const { admissions, outboxLength } = await room.admit(arrivals);
    seen.again += admissions.filter((admission) => admission === "known").length;
    seen.handed += admissions.filter((admission) => admission === "handed").length;
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
    log.warn({ shard, position, why }, "a message that cannot be read goes to the dead letters");
    await batch.deadLetter(message, { code: "ENVELOPE_UNREADABLE", message: why });
  }

  /** The same id with another content gets an id of its own, made from the content, so that it too has its one outcome. */
  async function readmitConflicts(room: WaitingRoom, arrivals: Arrival[], admissions: string[]) {
    const again = arrivals.flatMap((arrival, i) => {
      if (admissions[i] !== "conflict") return [];
      const { taskId } = arrival.task;
      const renamed = withTaskId(arrival, `${taskId}~${contentHash(arrival).slice(0, 8)}`);
      log.warn({ taskId, newTaskId: renamed.task.taskId }, "a task id came again with another content");
      return [renamed];
    });
    if (again.length > 0) await room.admit(again);
  }

  async function rest(detections: Subscription, room: WaitingRoom, maxOutbox: number, seen: AdmitCounts) {
    if (seen.resting === 0)
      log.warn({ maxOutbox }, "the outbox is full: admission pauses until results can be written again");
    detections.pause();
    seen.resting += 1;
    try {
      while (!signal.aborted && (await room.admit([])).outboxLength > maxOutbox / 2) await clock.sleep(250, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      seen.resting -= 1;
      // Others that found it full may wait still.
      if (seen.resting === 0) detections.resume();
    }
  }
}

/** Each group of a message that is given up ends as failed, with this reason. For messages that end their process. */
export async function failGroups(
  message: TopicMessage,
  reason: { code: string; message: string },
  { read, room, leftToUs }: Pick<AdmitParts, "read" | "room" | "leftToUs">,
): Promise<void> {
  const reading = read(message.value);
  if (reading.kind === "unreadable") return;
  const { tasks } = groupsToTasks(reading.detection, message, { freshnessSeconds: 0, reuseSeconds: 0 });
  const messageId = messageIdOf(reading.detection, message);
  const failed = tasks.map(({ task }) => ({ task, messageId, order: "", leftToUs }));
  await room.admit(failed.map((arrival) => bareFailure(arrival, reason.code, reason.message)));
}

/** Only what a result needs: whatever else the task holds may be what was wrong. */
function bareFailure({ task, messageId, order, leftToUs = false }: Arrival, code: string, message: string): Arrival {
  const bare = { ...task, objects: [], memberIndices: [], features: null, imageUrl: null, imageHash: null };
  return { task: bare, messageId, order, leftToUs, failed: { code, message } };
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
  nth: number,
  detection: ReadDetection,
  messageId: string,
  message: TopicMessage,
  { images, isJudgedElsewhere, inlineImages, leftToUs }: AdmitParts,
): Promise<Arrival> {
  const cameraId = String(task.cameraId);
  const imageDigest = inlineImage ? createHash("sha1").update(inlineImage).digest("base64url") : (task.imageUrl ?? "");
  // By its content besides: two groups of one index may come under one id (see contentHash).
  const name = `${task.taskId}-${imageDigest.slice(0, 8)}`;
  const stored = inlineImage && !failed ? await images.put(safeName(cameraId), safeName(name), inlineImage) : null;
  const complete: AssessmentTask = stored ? { ...task, imageUrl: stored } : task;
  const group = detection.groups[nth];
  const handOver = group &&
    isJudgedElsewhere(cameraId) &&
    !isUnusable(failed) && {
      message: JSON.stringify(groupToTaskMessage(detection, group, complete)),
      inline: inlineImages || stored !== null,
    };
  const order = orderOf(message);
  return {
    ...{ task: complete, messageId, order, imageDigest, leftToUs },
    ...(handOver ? { handOver } : failed && { failed }),
  };
}

/** Nobody could judge it. A foreign address is for those who read tasks to judge: here it is never fetched. */
const isUnusable = (failed: NewTask["failed"]) => failed !== undefined && failed.code !== "IMAGE_FOREIGN";

function withTaskId({ handOver, ...arrival }: Arrival, taskId: string): Arrival {
  const renamed = { ...arrival, task: { ...arrival.task, taskId } };
  if (!handOver) return renamed;
  const before = JSON.parse(handOver.message) as object;
  const message = JSON.stringify({ ...before, taskId, messageId: `${taskId}_task` });
  return { ...renamed, handOver: { ...handOver, message } };
}
