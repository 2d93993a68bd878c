/**
 * Names in the store, in one place. `{vl}:` is coordination, all in one hash slot; `vl:` is topics, cameras, previews,
 * events. Bare names are only for contracts of older systems.
 */
import { createHash } from "node:crypto";

export const BULLMQ_PREFIX = "{vl}";

/** Id of a key group: at most 40 of a-z, 0-9 and dash. */
export const KEY_GROUP_ID = /^[a-z0-9-]{1,40}$/;

/** BullMQ queue of a key group (Redis keys `{vl}:assess-<id>:…`). */
export const assessmentQueueName = (keyGroupId: string) => `assess-${keyGroupId}`;

/** BullMQ ids must hold no colon and be no integer: 22 characters of the task id's hash, then the epoch of the taking. */
export const jobId = (taskId: string, epoch: number) =>
  `${createHash("sha256").update(taskId).digest("base64url").slice(0, 22)}-${epoch}`;

export const CONSUMER_GROUPS = {
  bridge: "vigilane-bridge",
  results: "vigilane-results",
  gateway: "vigilane-gateway",
} as const;

export const KEYS = {
  /** Pub/sub: the waiting room has work again, or a place for it fell. */
  wake: "{vl}:wake",
  /** Pub/sub: a key group got a job; message: its id. */
  wakeWorker: "{vl}:wake-worker",
  /** Pub/sub: a role's process died; message: JSON {role, instance, pid}. */
  roleDied: "{vl}:role-died",
  /** Stream: outcomes on their way to the results topic. */
  outbox: "{vl}:outbox",
  /** Stream: tasks that others judge, on their way to the tasks topic: fields message, img, inline. */
  tasksOutbox: "{vl}:tasks-outbox",
  /** Stream of events for gateways (events.ts): fields type, json. About 10,000 are kept. */
  events: "vl:events",
  /** Stream of outcomes as shown: fields taskId, revision, outcome, json (Timings and shownAt). */
  shown: "vl:shown",
  /** Hash: field = camera id, value = CameraStatus. Written by detectors. */
  cameras: "vl:cameras",
  /** Hash: field = camera id, value = CameraRisk. Written by results. */
  risks: "vl:risks",
  /** Hash: field = <role>/<instance>, value = RoleHealth. */
  roles: "vl:roles",
  /** Hash: field = role, value = how often the supervisor had to start it again. */
  restarts: "vl:restarts",
  /** Hash: field = key group id, value = KeyGroupEvent. Written once a second by the bridge. */
  keyGroups: "vl:key-groups",
  /** Stream of the newest 1,000 changes of key groups' and keys' states: field json = KeyGroupChange without its id. */
  keyGroupChanges: "{vl}:key-group-changes",
  /** Hash: how often each came into each state; field <group>:<state> or <group>/<key>:<state>. */
  keyGroupChangeCounts: "{vl}:key-group-change-counts",
  /** Hash: the state that each was last seen in; field <group> or <group>/<key>. */
  keyGroupStates: "{vl}:key-group-states",
  /** Hash: what queues count over all groups (conflicts, calledAgain, …). */
  counters: "{vl}:counters",
  /** Hash: field = <group>.<topic> (by design), value = TopicLag. Written every few seconds by a bridge. */
  lags: "vl:lags",
  /** Hash: field json = Totals. Written once a second by the results role. */
  totals: "vl:totals",
  /** Pub/sub per camera: binary previews (messages.ts, PreviewHeader). */
  preview: (cameraId: string) => `vl:preview:${cameraId}`,
} as const;
