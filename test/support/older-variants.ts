/** Every form of message that older producers send to detection-results, and what each of their groups has to come to. */
import {
  base64,
  olderDetection,
  olderGroup,
  olderImage,
  olderObjects,
  pythonJson,
  scriptDetection,
  utcnow,
} from "./older-messages.ts";

export interface Variant {
  what: string;
  /** One line of JSON. */
  text: string;
  cameraId: number | string;
  /** Null: the message has none. */
  messageId: string | null;
  timestamp: string;
  /** For each entry of trafficGroups [groupIndex, outcome, or the error's code], in their order. */
  ends: [groupIndex: number, end: string][];
}

const JUDGED: Variant["ends"] = [
  [1, "assessed"],
  [2, "assessed"],
];

/** `firstCamera`: each variant has a camera of its own, from this number on. */
export function olderVariants(firstCamera: number): Variant[] {
  const variants: Variant[] = [];
  function add(what: string, ends: Variant["ends"], more: object, make: (more: object) => object = olderDetection) {
    const message = make({ cameraId: firstCamera + variants.length, ...more }) as Record<string, unknown>;
    const { cameraId, messageId, timestamp } = message as {
      cameraId: number | string;
      messageId?: string;
      timestamp: string;
    };
    variants.push({ what, text: pythonJson(message), cameraId, messageId: messageId ?? null, timestamp, ends });
  }
  const twoGroups = [olderGroup(1, [0, 1]), olderGroup(2, [2, 3])];
  const objects = olderObjects();

  add("the pipeline's own", JUDGED, {});
  add("a timestamp without fraction", JUDGED, { timestamp: utcnow("") });
  add("a timestamp of three digits", JUDGED, { timestamp: utcnow("000") });
  add("a camera id that is text", JUDGED, { cameraId: `north-${firstCamera}` });
  add("a frame without groups", [], { trafficGroups: [], groupImages: [] });
  add("a group whose crop was empty", [JUDGED[0] as [number, string], [2, "IMAGE_MISSING"]], {
    groupImages: [olderImage(1)],
  });
  add(
    "groups and an empty list of images",
    [
      [1, "IMAGE_MISSING"],
      [2, "IMAGE_MISSING"],
    ],
    { groupImages: [] },
  );
  add(
    "groups and no images",
    [
      [1, "IMAGE_MISSING"],
      [2, "IMAGE_MISSING"],
    ],
    { groupImages: undefined },
  );
  add("images and an empty list of groups", JUDGED, { trafficGroups: [] });
  add("images and no groups", JUDGED, { trafficGroups: undefined });
  add("a group with an active alert", JUDGED, {
    trafficGroups: [
      olderGroup(1, [0, 1], {
        ...{ riskLevel: "blue", riskLevelRaw: "high", riskTypes: ["人车距离过近"], dangerObjectCount: 2 },
        ...{ triggerObjectIds: [], alertDescription: "行人靠近车辆", alertConfidence: 0.9 },
      }),
      olderGroup(2, [2, 3]),
    ],
  });
  add("objects with ids and without level, boxes of whole numbers", JUDGED, {
    detectedObjects: objects.map(({ level: _, ...object }, i) => ({
      ...object,
      objectId: i + 1,
      bbox: object.bbox.map(Math.round),
    })),
  });
  add("a class name that is not ASCII", JUDGED, {
    detectedObjects: objects.map((object) => ({ ...object, class: "行人" })),
  });
  add("images with a prefix, and an imageUrl that is None", JUDGED, {
    groupImages: [1, 2].map((i) => olderImage(i, { imageBase64: `data:image/jpeg;base64,${base64}`, imageUrl: null })),
  });
  add("an image under an address, with and without bytes", [JUDGED[0] as [number, string], [2, "IMAGE_FOREIGN"]], {
    groupImages: [
      olderImage(1, { imageUrl: "http://10.0.0.1/1.jpg" }),
      olderImage(2, { imageUrl: "file:///etc/passwd", imageBase64: "" }),
    ],
  });
  add(
    "two groups of one index",
    [
      [1, "assessed"],
      [1, "assessed"],
    ],
    {
      trafficGroups: [olderGroup(1, [0, 1]), olderGroup(1, [2, 3])],
      groupImages: [olderImage(1), olderImage(1)],
    },
  );
  add("NaN and Infinity", JUDGED, {
    ...{ frameTimestamp: Number.NaN, detectionLatency: Number.POSITIVE_INFINITY },
    detectedObjects: objects.map((object, i) => (i === 0 ? { ...object, confidence: Number.NaN } : object)),
    trafficGroups: twoGroups.map((group) => ({
      ...group,
      averageConfidence: Number.NaN,
      avgConfidence: Number.NEGATIVE_INFINITY,
    })),
  });
  add(
    "a group whose box is NaN, beside a good one",
    [
      [1, "GROUP_UNREADABLE"],
      [2, "assessed"],
    ],
    {
      trafficGroups: [olderGroup(1, [0, 1], { bbox: [Number.NaN, 0, 1, 1] }), olderGroup(2, [2, 3])],
    },
  );
  add("members out of range, and none at all", JUDGED, {
    trafficGroups: [olderGroup(1, [0, 99]), olderGroup(2, [], { memberIndices: undefined })],
  });
  add("no message id", JUDGED, { messageId: undefined });
  add("no sizes, no objects, no latency, no model", JUDGED, {
    ...{
      imageWidth: undefined,
      imageHeight: undefined,
      detectedObjects: [],
      detectionLatency: undefined,
      modelType: undefined,
    },
  });
  add("the test script's, with local time and what is no whole JPEG", [[1, "failed"]], {}, scriptDetection);
  return variants;
}
