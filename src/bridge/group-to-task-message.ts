/** A group as the message of the tasks topic by which others judge it. Pure; its picture is put in on the way out. */
import type { AssessmentTask, DetectedObject, TaskMessage } from "../messages.ts";
import type { ReadDetection, ReadGroup } from "./read-detection.ts";

/** `task`: of this group of this detection. Objects go on as they came, with whatever their producer adds. */
export function groupToTaskMessage(detection: ReadDetection, { group, image }: ReadGroup, task: AssessmentTask) {
  const objects = task.memberIndices
    .map((i) => detection.objects[i])
    .filter((object): object is DetectedObject => !!object);
  const message: TaskMessage = {
    // The same each time: whoever reads a task twice can know it by that.
    messageId: `${task.taskId}_task`,
    taskId: task.taskId,
    requestId: task.requestId,
    cameraId: task.cameraId,
    timestamp: task.timestamp,
    groupIndex: task.groupIndex,
    groupImageBase64: "",
    groupImageUrl: task.imageUrl ?? image?.imageUrl ?? "",
    detectedObjects: objects,
    groupMetadata: {
      objectCount: group?.objectCount ?? 0,
      classes: group?.classes ?? [],
      bbox: group?.bbox ?? [],
    },
    memberIndices: task.memberIndices,
    ...(detection.capturedAt !== null && { capturedAt: detection.capturedAt }),
    ...(detection.detectedAt !== null && { detectedAt: detection.detectedAt }),
    imageWidth: task.imageWidth,
    imageHeight: task.imageHeight,
    ...(task.imageHash !== null && { imageHash: task.imageHash }),
    ...(task.features && { features: task.features }),
    ...(task.traceparent !== undefined && { traceparent: task.traceparent }),
  };
  return message;
}
