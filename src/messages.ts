/**
 * The glossary of vigilane as schemas, in the order in which the data flows. Every other file uses these words.
 *
 *   camera           a video source with an id, a place (lat, lon), a frame interval and its own policy
 *   frame            one image of a camera with its capture time
 *   detected object  one box of the detector: class, confidence, bbox [x1, y1, x2, y2] in pixels of the frame, track id
 *   traffic group    objects close to each other ("BX" clustering): member indices, merged bbox, spatial features
 *   crop             JPEG of a group's bbox plus margin
 *   assessment task  the work to judge one group; its id is `<messageId of the detection>_group<groupIndex>`
 *   key group        one quota domain: the API keys that share one provider account's quota for one model
 *   waiting room     where admitted tasks wait; the one place where order, expiry and supersession are decided
 *   lease            permission to make one call now with one key: a reserved place in every quota window
 *   assessment       the LLM's verdict: risk level, risk types, description, confidence
 *   outcome          how a task ended: assessed, reused, failed, expired, superseded; exactly one each
 *
 * Units: pixels are floats in the frame's own size; times on the wire are ISO 8601 with Z; numbers called `…Ms` are
 * milliseconds (since the epoch where they name a moment). Messages are JSON in UTF-8; unknown fields pass through.
 */
import { z } from "zod";
import { RoutingPolicy } from "./routing-policy.ts";

/** Id of a camera as text. Numbers of older producers are read too; what is published is what came. */
export const CameraId = z.union([z.string().min(1).max(200), z.number()]);
export type CameraId = z.infer<typeof CameraId>;

/** [x1, y1, x2, y2] in pixels of the frame, x1 ≤ x2, y1 ≤ y2. */
export const Bbox = z.tuple([z.number(), z.number(), z.number(), z.number()]);
export type Bbox = z.infer<typeof Bbox>;

export const DetectedObject = z.looseObject({
  class: z.string(),
  /** 0 to 1. */
  confidence: z.number(),
  bbox: Bbox,
  /** The same road user from look to look, as far as the tracker can tell. Absent from older producers. */
  trackId: z.number().int().optional(),
});
export type DetectedObject = z.infer<typeof DetectedObject>;

/** What is known about a group from its boxes alone; distances in pixels, speeds in pixels a second. */
export const GroupFeatures = z.looseObject({
  /** Least distance between the edges of a person's (or two-wheeler's) and a vehicle's box; null without such a pair. */
  vulnerableToVehiclePx: z.number().nullable(),
  /** The same, in heights of the smaller of the two boxes: a measure that perspective does not change. */
  vulnerableToVehicleHeights: z.number().nullable(),
  /** How fast that nearest pair approaches each other; negative: they part; null: unknown. */
  closingSpeedPxPerSecond: z.number().nullable(),
  /** Largest intersection over union of a vulnerable road user's and a vehicle's box, 0 to 1. */
  maxOverlap: z.number(),
});
export type GroupFeatures = z.infer<typeof GroupFeatures>;

export const TrafficGroup = z.looseObject({
  /** From 1, in the order of the groups' lowest members. No identity from frame to frame. */
  groupIndex: z.number().int(),
  objectCount: z.number().int(),
  bbox: Bbox,
  /** Sorted, distinct. */
  classes: z.array(z.string()),
  averageConfidence: z.number(),
  /** Indices into `detectedObjects`, ascending. */
  memberIndices: z.array(z.number().int()),
  features: GroupFeatures.optional(),
});
export type TrafficGroup = z.infer<typeof TrafficGroup>;

/** A group's crop: by reference into our own image store, or inline (older producers), base64 with or without prefix. */
export const GroupImage = z.looseObject({
  groupIndex: z.number().int(),
  imageUrl: z.string().optional(),
  imageBase64: z.string().optional(),
  /** How the crop looks: 64 bits as 16 hexadecimal digits; near-equal crops differ in few bits. */
  imageHash: z.string().optional(),
});
export type GroupImage = z.infer<typeof GroupImage>;

/** Topic `detection-results`: one message for every frame looked at, with or without groups. */
export const Detection = z.looseObject({
  messageId: z.string().min(1).max(200),
  cameraId: CameraId,
  /** The producer's time of sending, copied into the result as text, unchanged. */
  timestamp: z.string(),
  /** When the frame arrived from ffmpeg. Absent from older producers, whose `timestamp` stands in for it. */
  capturedAt: z.string().optional(),
  /** When the boxes were known. */
  detectedAt: z.string().optional(),
  imageWidth: z.number(),
  imageHeight: z.number(),
  detectedObjects: z.array(DetectedObject),
  trafficGroups: z.array(TrafficGroup),
  groupImages: z.array(GroupImage).default([]),
});
export type Detection = z.infer<typeof Detection>;

/**
 * Topic `assessment-tasks`: one message for each group that others are to judge (or that others leave to us), in the form of the
 * older task generator. What follows `groupMetadata` is ours.
 */
export const TaskMessage = z.looseObject({
  messageId: z.string(),
  /** `<messageId of the detection>_group<groupIndex>`. */
  taskId: z.string(),
  /** `messageId` of the detection. */
  requestId: z.string(),
  cameraId: CameraId,
  /** The detection's, as it came. */
  timestamp: z.string(),
  groupIndex: z.number().int(),
  /** JPEG or PNG, base64 without prefix; "": see groupImageUrl. */
  groupImageBase64: z.string(),
  /** Reference into our own image store, or as an older producer sent it; "": none. */
  groupImageUrl: z.string(),
  /** The group's members only; all of the frame where the group names none. */
  detectedObjects: z.array(DetectedObject),
  groupMetadata: z.looseObject({ objectCount: z.number(), classes: z.array(z.string()), bbox: z.array(z.number()) }),
  /** Places of `detectedObjects` in the detection's own list. */
  memberIndices: z.array(z.number().int()),
  capturedAt: z.string().optional(),
  detectedAt: z.string().optional(),
  imageWidth: z.number(),
  imageHeight: z.number(),
  imageHash: z.string().optional(),
  features: GroupFeatures.optional(),
});
export type TaskMessage = z.infer<typeof TaskMessage>;

export const RISK_LEVELS = ["none", "low", "medium", "high"] as const;
export const RiskLevel = z.enum(RISK_LEVELS);
export type RiskLevel = z.infer<typeof RiskLevel>;

/** The LLM's verdict about one group. */
export const Assessment = z.object({
  riskLevel: RiskLevel,
  /** 0 to 1. */
  confidence: z.number().min(0).max(1),
  riskTypes: z.array(z.string()),
  description: z.string(),
  dangerObjectCount: z.number().int().nullable(),
  /** Indices into the detection's `detectedObjects`. */
  triggerObjectIds: z.array(z.number().int()),
});
export type Assessment = z.infer<typeof Assessment>;

/** How a task ended. A task that could not be judged is never "none": no verdict is an outcome of its own. */
export const OUTCOMES = ["assessed", "reused", "failed", "expired", "superseded"] as const;
export const Outcome = z.enum(OUTCOMES);
export type Outcome = z.infer<typeof Outcome>;

/**
 * The work to judge one group, as it waits and as it travels in a job: small, without pixels. (Inline images of older
 * producers are put into the image store at admission.)
 */
export const AssessmentTask = z.object({
  taskId: z.string(),
  /** `messageId` of the detection. */
  requestId: z.string(),
  cameraId: CameraId,
  /** The detection's, as it came. */
  timestamp: z.string(),
  groupIndex: z.number().int(),
  /** Reference into our own image store; null: the detection brought no usable image for this group. */
  imageUrl: z.string().nullable(),
  /** See GroupImage; null: unknown. */
  imageHash: z.string().nullable().default(null),
  /** The group's members only, in the order of `memberIndices`. */
  objects: z.array(DetectedObject),
  memberIndices: z.array(z.number().int()),
  bbox: Bbox,
  imageWidth: z.number(),
  imageHeight: z.number(),
  features: GroupFeatures.nullable(),
  /** 0 to 1: how urgent the boxes alone make this group. Decides the order in the waiting room. */
  score: z.number().min(0).max(1),
  capturedAtMs: z.number(),
  detectedAtMs: z.number(),
  /** Seconds after capture for which a verdict is worth having; 0: for ever. */
  freshnessSeconds: z.number().min(0),
  /** For so long the last verdict about the same scene is used again; 0: never. */
  reuseSeconds: z.number().min(0).default(0),
  /** Which key groups may judge it; absent: any. */
  routing: RoutingPolicy.optional(),
  traceparent: z.string().optional(),
});
export type AssessmentTask = z.infer<typeof AssessmentTask>;

/** Moments of a task's life, in ms since the epoch; those that did not happen are absent. */
export const Timings = z.object({
  capturedAt: z.number(),
  detectedAt: z.number().optional(),
  admittedAt: z.number().optional(),
  /** Task and lease were taken together. */
  takenAt: z.number().optional(),
  /** The lease was spent: the call began. */
  startedAt: z.number().optional(),
  answeredAt: z.number().optional(),
  /** The outcome was fixed in the store. */
  completedAt: z.number().optional(),
  /** The outcome was appended to the results topic. */
  publishedAt: z.number().optional(),
});
export type Timings = z.infer<typeof Timings>;

export const ResultMetadata = z.looseObject({
  /** Seconds from the start of the first call to the last answer; 0 when there was no call. */
  llmLatency: z.number(),
  llmModel: z.string(),
  keyGroup: z.string().nullable(),
  apiKeyId: z.string().nullable(),
  attempts: z.number().int(),
  retryCount: z.number().int(),
  tokens: z.object({ prompt: z.number(), completion: z.number() }).nullable(),
  /** True when no real LLM judged: whoever shows this verdict must say so. */
  simulated: z.boolean(),
  timings: Timings,
});
export type ResultMetadata = z.infer<typeof ResultMetadata>;

/** One entry of `results`: the verdict with the index of its group. */
export const ResultEntry = Assessment.extend({ groupIndex: z.number().int() });
export type ResultEntry = z.infer<typeof ResultEntry>;

/** Topic `risk-assessment-results`: one message for every entry of `trafficGroups`, never two of one revision. */
export const AssessmentResult = z.looseObject({
  /** `<taskId>_result`; `<taskId>_result_<revision>` from the second revision on. */
  messageId: z.string(),
  taskId: z.string(),
  requestId: z.string(),
  cameraId: CameraId,
  timestamp: z.string(),
  groupIndex: z.number().int(),
  outcome: Outcome,
  /** 1, and one more for each retry by hand. */
  revision: z.number().int().min(1).default(1),
  /** Exactly one entry when assessed or reused, else none. */
  results: z.array(ResultEntry),
  /** Only when failed (and, with what made it so, when expired). */
  error: z.object({ code: z.string(), message: z.string() }).optional(),
  /** For our own page: what the verdict is about. */
  bbox: Bbox.optional(),
  classes: z.array(z.string()).optional(),
  imageUrl: z.string().nullable().optional(),
  metadata: ResultMetadata,
});
export type AssessmentResult = z.infer<typeof AssessmentResult>;

/** What a camera is doing, as its detector sees it. */
export const CAMERA_STATES = ["connecting", "online", "stalled", "offline"] as const;
export const CameraState = z.enum(CAMERA_STATES);
export type CameraState = z.infer<typeof CameraState>;

/** Published by the detector once a second and at every change; kept in the hash `vl:cameras`, field = camera id. */
export const CameraStatus = z.object({
  cameraId: z.string(),
  name: z.string(),
  /** Place on the map; null: none was given. */
  lat: z.number().nullable(),
  lon: z.number().nullable(),
  state: CameraState,
  /** Why it is not online, and other things worth saying ("keyframes only", "B-frames: 4 s late"). */
  detail: z.string(),
  sinceMs: z.number(),
  /** When this status was written. Older than some seconds: its detector is gone, and the camera is offline. */
  atMs: z.number(),
  /** Capture time of the newest frame; null: none yet. */
  lastFrameAtMs: z.number().nullable(),
  imageWidth: z.number().nullable(),
  imageHeight: z.number().nullable(),
  /** Asked for, and what the detector manages (longer under overload). */
  frameIntervalMs: z.number(),
  actualIntervalMs: z.number().nullable(),
  /** Instance of the detector that watches it. */
  detector: z.string().optional(),
  /** Since the detector's start. dropped: decoded for a look but replaced by a newer frame before it was looked at. */
  frames: z.object({ decoded: z.number(), detected: z.number(), dropped: z.number() }),
});
export type CameraStatus = z.infer<typeof CameraStatus>;

/**
 * Pub/sub channel `vl:preview:<cameraId>`: what the detector saw, at once, whatever the LLM does. The message is
 * binary: UInt32BE length of the header, the header as JSON, then the JPEG's bytes.
 */
export const PreviewHeader = z.object({
  cameraId: z.string(),
  messageId: z.string(),
  capturedAtMs: z.number(),
  detectedAtMs: z.number(),
  /** Size of the frame, whose pixels the boxes are in; the JPEG is smaller. */
  imageWidth: z.number(),
  imageHeight: z.number(),
  objects: z.array(z.object({ class: z.string(), confidence: z.number(), bbox: Bbox, trackId: z.number().optional() })),
  groups: z.array(z.object({ groupIndex: z.number(), bbox: Bbox, score: z.number() })),
});
export type PreviewHeader = z.infer<typeof PreviewHeader>;
