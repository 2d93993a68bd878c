/**
 * Hand over: the outbox of tasks that others judge, in order, to the tasks topic, each with its picture where its readers
 * cannot look into our image store. Exactly once, as outcomes are: an older scheduler judges what comes twice twice.
 */
import { z } from "zod";
import type { Context } from "../context.ts";
import { errorCode } from "../errors.ts";
import type { ImageStore } from "../images/image-store.ts";
import { CameraId } from "../messages.ts";
import type { OutgoingMessage } from "../topics/topic-log.ts";
import { drainOutbox, type Entry, type OutboxParts, type Transfer } from "./outbox.ts";

export interface HandOverParts extends OutboxParts {
  transfer: Transfer;
  tasksTopic: string;
  images: Pick<ImageStore, "get">;
}

/** Fields of one entry of the stream `{vl}:tasks-outbox`, as hand_over() in admit.lua writes them. */
const TaskFields = z.object({ message: z.string(), img: z.string(), inline: z.string() });
type TaskFields = z.infer<typeof TaskFields>;

/** What has to be known of a message here; the rest goes as it is. */
const Message = z.looseObject({ cameraId: CameraId, traceparent: z.string().optional() });

/** Of one message, and of all that go in one step: they may be one batch of one partition, and brokers take 1 MiB. */
const MOST_BYTES = 900_000;

export async function handOver(parts: HandOverParts, context: Context, signal: AbortSignal): Promise<void> {
  const move = async (entries: Entry<TaskFields>[]) => {
    const leaving: { outboxId: string; message: OutgoingMessage }[] = [];
    let bytes = 0;
    for (const { outboxId, fields } of entries) {
      const message = await toMessage(fields, parts.images, context);
      bytes += message.value.length;
      if (leaving.length > 0 && bytes > MOST_BYTES) break;
      leaving.push({ outboxId, message });
    }
    return parts.transfer.transfer(parts.tasksTopic, leaving);
  };
  await drainOutbox(parts, TaskFields, "handing tasks over", move, context, signal);
}

async function toMessage({ message, img, inline }: TaskFields, images: HandOverParts["images"], { log }: Context) {
  const { traceparent, ...task } = Message.parse(JSON.parse(message));
  const picture = inline && img ? await pictureOf(img, images) : null;
  const complete = Buffer.from(JSON.stringify(picture ? withPicture(task, picture) : task));
  const fits = complete.length <= MOST_BYTES;
  if (!fits) log.warn({ img, bytes: complete.length }, "a crop is too large for a message; its reference goes instead");
  return {
    key: String(task.cameraId),
    value: fits ? complete : Buffer.from(JSON.stringify(task)),
    headers: { schema: "assessment-task/1", ...(traceparent !== undefined && { traceparent }) },
  };
}

const Name = z.object({ taskId: z.string() });

/** What a message of the tasks topic is about; "": it is not ours. Never throws. */
export function nameOfTask(value: Buffer): string {
  try {
    return Name.safeParse(JSON.parse(value.toString())).data?.taskId ?? "";
  } catch {
    return "";
  }
}

const withPicture = (task: object, picture: Buffer) => ({
  ...task,
  groupImageBase64: picture.toString("base64"),
  groupImageUrl: "",
});

/** Null: it is gone (or no reference after all). Then the reference goes out, and whoever reads the task says that there is no picture. */
async function pictureOf(reference: string, images: HandOverParts["images"]): Promise<Buffer | null> {
  try {
    return await images.get(reference);
  } catch (error) {
    if (errorCode(error) === "IMAGE_GONE" || errorCode(error) === "IMAGE_FOREIGN") return null;
    throw error;
  }
}
