/**
 * What happens, as the gateways and the reports see it: one typed map. Results, detector and supervisor append to the
 * Redis stream `vl:events` (trimmed to about 10,000); every gateway reads it and emits to its own sockets. docs/socket.md
 * is the public contract of the socket and says the same for people.
 */
import { z } from "zod";
import { AssessmentResult, CameraStatus, RiskLevel } from "./messages.ts";

/** The newest verdict of a camera, by (capturedAt, messageId, revision): an older one never changes it. */
export const CameraRisk = z.object({
  cameraId: z.string(),
  /** Null: nothing judged yet. */
  riskLevel: RiskLevel.nullable(),
  outcome: z.string().nullable(),
  messageId: z.string().nullable(),
  description: z.string(),
  riskTypes: z.array(z.string()),
  capturedAtMs: z.number().nullable(),
  completedAtMs: z.number().nullable(),
  simulated: z.boolean(),
  /** Outcomes of this camera since the store began, by kind. */
  counts: z.record(z.string(), z.number()),
});
export type CameraRisk = z.infer<typeof CameraRisk>;

/** How far a consumer group is behind on a topic. */
export const TopicLag = z.object({
  /** Its name by design. */
  topic: z.string(),
  group: z.string(),
  /** Appended and not acknowledged by the group. */
  messages: z.number(),
  /** Age of the oldest of them; 0: there is none. */
  oldestAgeMs: z.number(),
  /** Gone before the group read them. */
  lost: z.number(),
  /** When this was so. */
  atMs: z.number(),
});
export type TopicLag = z.infer<typeof TopicLag>;

export const CameraEvent = z.object({
  status: CameraStatus.nullable(),
  risk: CameraRisk.nullable(),
  cameraId: z.string(),
});
export type CameraEvent = z.infer<typeof CameraEvent>;

/** Upper ends of the classes in which answered calls are counted by how long they took, ms; one more is for what took longer. */
export const LATENCY_ENDS_MS = [500, 1_000, 2_000, 5_000, 10_000, 30_000] as const;

/**
 * `disabled`: left out until it is tried again; `unmanned`: no living worker holds it; `removed`: a group that left the keys'
 * file, and whose queue is not empty yet.
 */
export const KeyState = z.enum(["available", "in_use", "cooling", "disabled", "unmanned", "removed"]);
export type KeyState = z.infer<typeof KeyState>;

/** One key of a group, by its id; the secret never leaves the worker. */
export const KeyEvent = z.object({
  id: z.string(),
  state: KeyState,
  /** Why it is left out or its group cools. */
  cause: z.string().nullable(),
  reason: z.string().nullable().default(null),
  /** What was full or is out of use, where its own state is the trouble: a window's name, "key" or "group"; null: nothing of its own. */
  cools: z.string().nullable().default(null),
  /** Until it may be used again; of what is disabled: until it ends by itself where that is known, else until the next probe. */
  leftMs: z.number(),
  inFlight: z.number(),
  /** Calls begun, and how those that ended did. */
  calls: z.number(),
  ok: z.number(),
  failed: z.number(),
});
export type KeyEvent = z.infer<typeof KeyEvent>;

/** What has a default is not there in the record of a bridge that is older than its readers. */
export const KeyGroupEvent = z.object({
  id: z.string(),
  /** Groups of one account share its windows. */
  account: z.string().default(""),
  provider: z.string(),
  model: z.string(),
  simulated: z.boolean(),
  /** How its keys are chosen, and how groups are: round_robin, least_loaded, weighted, random. */
  strategy: z.string().default("round_robin"),
  routing: z.string().default("round_robin"),
  /** Among groups, where routing is weighted. */
  weight: z.number().default(1),
  /** What routing policies go by: where its server stands, its model's quality (1 to 5), a usual call's price; null: not known. */
  region: z.string().nullable().default(null),
  quality: z.number().default(3),
  pricePerCall: z.number().nullable().default(null),
  state: KeyState,
  /** Why it cools or is disabled: an error code. */
  cause: z.string().nullable(),
  /** What the provider meant, which says more than the code: docs/providers.md names them. Null: not known. */
  reason: z.string().nullable().default(null),
  /** What was full or is out of use: a window's name, "group", "key"; null: nothing. */
  cools: z.string().nullable().default(null),
  coolingLeftMs: z.number(),
  /** Of what is disabled: until it ends by itself where that is known, else until the next probe; null: it is not, or nobody knows. */
  disabledLeftMs: z.number().nullable().default(null),
  inFlight: z.number(),
  /** maxConcurrent of its account and how many calls, or leases of such, of all the account's groups take a place; null: no such limit. */
  concurrency: z.object({ limit: z.number(), used: z.number() }).nullable().default(null),
  /** `limit` and `used` in the window's unit; `zone` only of calendar days. */
  windows: z.array(
    z.object({
      name: z.string(),
      limit: z.number(),
      windowMs: z.number(),
      unit: z.enum(["requests", "tokens"]).default("requests"),
      kind: z.enum(["sliding", "fixed", "calendar", "bucket"]).default("sliding"),
      zone: z.string().optional(),
      used: z.number(),
    }),
  ),
  /** The window (or maxConcurrent; or "reserve": but urgent ones) that lets no call through, as of when one was last asked for, and for how long; null: none does. */
  waitsFor: z.object({ window: z.string(), leftMs: z.number() }).nullable().default(null),
  calls: z.number(),
  ok: z.number(),
  rejected429: z.number(),
  /** Refused or failed calls by error code. */
  failures: z.record(z.string(), z.number()),
  /** The same by code and reason, as far as reasons are known: together at most as many of each code. */
  refusals: z.record(z.string(), z.record(z.string(), z.number())).default({}),
  /** Of the last 31 answered calls. */
  medianLatencyMs: z.number().nullable(),
  p95LatencyMs: z.number().nullable().default(null),
  /** Answered calls by how long they took: one count for each of LATENCY_ENDS_MS and one for the rest; and all their ms. */
  latency: z.object({ counts: z.array(z.number()), sumMs: z.number() }).default({ counts: [], sumMs: 0 }),
  /** Of all answered calls, as the provider told; one that tells none counts as none. */
  tokens: z.object({ prompt: z.number(), completion: z.number() }).default({ prompt: 0, completion: 0 }),
  /** So much the windows are widened against jitter, ms; it adapts to the provider. */
  guardMs: z.number().default(0),
  keys: z.array(KeyEvent).default([]),
});
export type KeyGroupEvent = z.infer<typeof KeyGroupEvent>;

/**
 * A key group, or one of its keys, came into another state. Whether a call is under way is no change: in_use counts as
 * available. The id grows with time and names the change.
 */
export const KeyGroupChange = z.object({
  id: z.string(),
  keyGroup: z.string(),
  /** Null: the group as a whole. */
  keyId: z.string().nullable(),
  from: KeyState,
  to: KeyState,
  cause: z.string().nullable(),
  reason: z.string().nullable().default(null),
  /** When it will be over by itself, as it looks now; store's clock. Null: not known, or nothing is wrong. */
  untilMs: z.number().nullable(),
  atMs: z.number(),
});
export type KeyGroupChange = z.infer<typeof KeyGroupChange>;

/** So many of the newest changes are kept. */
export const KEPT_KEY_GROUP_CHANGES = 1_000;

export const Totals = z.object({
  groups: z.number(),
  waiting: z.number(),
  inFlight: z.number(),
  outcomes: z.record(z.string(), z.number()),
  /** Capture to verdict on the page, over the last minute, ms; null without any. */
  endToEndP50Ms: z.number().nullable(),
  endToEndP95Ms: z.number().nullable(),
  /** Share of groups assessed or reused among all that ended in the last minute, 0 to 1; null without any. */
  coverage: z.number().nullable(),
  verdictsPerSecond: z.number(),
  /** Share of the tightest window of all key groups in use, 0 to 1. */
  quotaUsed: z.number(),
});
export type Totals = z.infer<typeof Totals>;

/** What keeps a role from its topics, as the role itself has found out. It goes when they answer again. */
export const TopicTrouble = z.object({
  /** A row of errors.ts. */
  code: z.string(),
  /** With its particulars: addresses, a user's name. Not for everybody. */
  message: z.string(),
  remedy: z.string(),
  /** Since when something has been wrong without a break, be it this or another thing before. */
  sinceMs: z.number(),
});
export type TopicTrouble = z.infer<typeof TopicTrouble>;

/** What waits for a topic: detections in a detector, results in the outbox that bridges empty. */
export const ToPublish = z.object({
  waiting: z.number(),
  most: z.number(),
  /** Given up since the role's start, the oldest first. Of results none ever is. */
  dropped: z.number(),
  /** There is no more room: a bridge admits nothing until half of it has gone. */
  paused: z.boolean(),
});
export type ToPublish = z.infer<typeof ToPublish>;

/** What has a default is not there in the heartbeat of a role that is older than its readers. */
export const RoleHealth = z.object({
  role: z.string(),
  instance: z.string(),
  pid: z.number(),
  ready: z.boolean(),
  /** What it is busy with or waits for, for people. */
  detail: z.string(),
  atMs: z.number(),
  startedAtMs: z.number(),
  rssMb: z.number(),
  /** Null: nothing that it knows of. */
  topics: TopicTrouble.nullable().default(null),
  /** Of detectors and bridges. */
  toPublish: ToPublish.nullable().default(null),
});
export type RoleHealth = z.infer<typeof RoleHealth>;

/** What is wrong with the topics, over all roles that say so. */
export const TopicsHealth = z.object({
  ...TopicTrouble.shape,
  /** The first words about it, such as "Kafka cannot be reached". */
  title: z.string(),
  /** Who has noticed: of each role so many of its living processes. */
  noticed: z.array(z.object({ role: z.string(), processes: z.number(), of: z.number() })),
  /** Of some role no process reaches them; then this is among the problems, in these words. Null: of each role one still does. */
  problem: z.string().nullable(),
});
export type TopicsHealth = z.infer<typeof TopicsHealth>;

export const Health = z.object({
  ok: z.boolean(),
  /** What is wrong, for people; empty when all is well. */
  problems: z.array(z.string()),
  store: z.enum(["up", "away"]),
  /** True: the store keeps everything in memory only. */
  storeInMemory: z.boolean(),
  /** What is wrong with the topics where they lie on brokers of their own; null: nothing that a role knows of. */
  topics: TopicsHealth.nullable().default(null),
  /** Over all detectors; null: none lives. */
  detectionsToPublish: ToPublish.nullable().default(null),
  /** Results (and tasks that others judge) in the outbox; null: no bridge lives. */
  resultsToPublish: ToPublish.nullable().default(null),
  roles: z.array(RoleHealth),
});
export type Health = z.infer<typeof Health>;

/** An outcome as shown: the result message, with the path of its crop on the gateway (null: there is none). */
export const OutcomeEvent = z.object({
  result: AssessmentResult,
  imagePath: z.string().nullable(),
  shownAtMs: z.number(),
});
export type OutcomeEvent = z.infer<typeof OutcomeEvent>;

/** Server to client. `frame`: header and JPEG in one binary message, volatile, acknowledged by the client (credit of one a camera). */
export interface ServerToClientEvents {
  frame: (header: import("./messages.ts").PreviewHeader, jpeg: Buffer, drawn: () => void) => void;
  outcome: (event: OutcomeEvent) => void;
  camera: (event: CameraEvent) => void;
  keyGroup: (event: KeyGroupEvent) => void;
  keyGroupChange: (event: KeyGroupChange) => void;
  totals: (event: Totals) => void;
  health: (event: Health) => void;
}

/** Client to server. `watch`: the cameras whose frames are wanted (at most 12), replacing the list before. */
export interface ClientToServerEvents {
  watch: (cameraIds: string[], answer?: (accepted: string[]) => void) => void;
}

/** GET /api/snapshot: all that a page needs to draw itself before the first event. The socket's events then go on from here. */
export const Snapshot = z.object({
  /** The gateway's clock: pages reckon ages against it, not against their own. */
  nowMs: z.number(),
  cameras: z.array(CameraEvent),
  keyGroups: z.array(KeyGroupEvent),
  /** Newest first; at most 100. */
  keyGroupChanges: z.array(KeyGroupChange).default([]),
  totals: Totals.nullable(),
  health: Health,
  /** The newest outcomes, newest first; at most 200. `shownAtMs`: when it was appended for showing. */
  outcomes: z.array(OutcomeEvent),
  /** True: verdicts come from the simulated provider, and whoever shows them must say so. */
  simulated: z.boolean(),
  /** Whether the asker may change anything (retry a failed task). */
  permitted: z.boolean(),
});
export type Snapshot = z.infer<typeof Snapshot>;
