/**
 * An entry of the outbox as the message of the results topic that it becomes. Pure, and total: whatever an entry holds, it
 * becomes a message that our own readers can read, since one that could not be published would hold up all behind it.
 */
import { z } from "zod";
import { Assessment, type AssessmentResult, Bbox, CameraId, Outcome, type Timings } from "../messages.ts";

/** Fields of one entry of the stream `{vl}:outbox`, as finish() in ending.lua writes them. */
export const OutboxFields = z.object({
  id: z.string(),
  outcome: Outcome,
  revision: z.coerce.number().int().min(1),
  attempts: z.coerce.number().int().catch(0),
  task: z.string(),
  verdict: z.string(),
  error: z.string(),
  meta: z.string(),
  keyGroup: z.string(),
  key: z.string(),
  admittedAt: z.string(),
  takenAt: z.string(),
  startedAt: z.string(),
  completedAt: z.coerce.number(),
});
export type OutboxFields = z.infer<typeof OutboxFields>;

/** What the worker adds to an ending. */
const CallMeta = z.object({
  llmLatencyMs: z.number().catch(0),
  model: z.string().catch(""),
  simulated: z.boolean().catch(false),
  tokens: z.object({ prompt: z.number(), completion: z.number() }).nullable().catch(null),
  /** From the start of the call to its answer, on the worker's own clock. */
  answeredAfterMs: z.number().nullable().catch(null),
});
type CallMeta = z.infer<typeof CallMeta>;

/** Of the task only what its result says again, each field by itself: a bad one costs none of its neighbours. */
const Subject = z.object({
  taskId: z.string().optional().catch(undefined),
  requestId: z.string().optional().catch(undefined),
  cameraId: CameraId.catch("unknown"),
  timestamp: z.string().catch(""),
  groupIndex: z.number().int().catch(0),
  imageUrl: z.string().nullable().catch(null),
  bbox: Bbox.catch([0, 0, 0, 0]),
  objects: z.array(z.looseObject({ class: z.string() })).catch([]),
  capturedAtMs: z.number().catch(0),
  detectedAtMs: z.number().optional().catch(undefined),
});
type Subject = z.infer<typeof Subject>;

const Fault = z.object({ code: z.string(), message: z.string() });

export function outcomeToResult(fields: OutboxFields, publishedAtMs: number): AssessmentResult {
  const subject = Subject.parse(objectIn(fields.task));
  const taskId = subject.taskId ?? fields.id;
  const said = CallMeta.parse(objectIn(fields.meta));
  // A verdict used again cost no call; who gave it, and whether it was simulated, stays said.
  const meta: CallMeta =
    fields.outcome === "reused" ? { ...said, llmLatencyMs: 0, tokens: null, answeredAfterMs: null } : said;
  const verdict = Assessment.safeParse(objectIn(fields.verdict));
  const fault = Fault.safeParse(objectIn(fields.error));
  const needsVerdict = fields.outcome === "assessed" || fields.outcome === "reused";
  // Never a verdict that nobody gave.
  const outcome = needsVerdict && !verdict.success ? "failed" : fields.outcome;
  const error = outcome === fields.outcome ? fault.data : UNREADABLE;
  return {
    messageId: fields.revision > 1 ? `${taskId}_result_${fields.revision}` : `${taskId}_result`,
    taskId,
    requestId: subject.requestId ?? taskId.replace(/_group[^_]*(?:_\d+)?$/, ""),
    cameraId: subject.cameraId,
    timestamp: subject.timestamp,
    groupIndex: subject.groupIndex,
    outcome,
    revision: fields.revision,
    results: verdict.success && needsVerdict ? [{ groupIndex: subject.groupIndex, ...verdict.data }] : [],
    ...(error && { error }),
    bbox: subject.bbox,
    classes: [...new Set(subject.objects.map((object) => object.class))].toSorted(),
    imageUrl: subject.imageUrl,
    metadata: {
      llmLatency: meta.llmLatencyMs / 1000,
      llmModel: meta.model,
      keyGroup: fields.keyGroup || null,
      apiKeyId: fields.key || null,
      attempts: fields.attempts,
      retryCount: Math.max(0, fields.attempts - 1),
      tokens: meta.tokens,
      simulated: meta.simulated,
      timings: timingsOf(fields, subject, meta, publishedAtMs),
    },
  };
}

const Name = z.object({ taskId: z.string(), revision: z.number() });

/** What a message of the results topic is the outcome of; "": it is not ours. Never throws. */
export function nameOfResult(value: Buffer): string {
  const { data } = Name.safeParse(objectIn(value.toString()));
  return data ? `${data.taskId}#${data.revision}` : "";
}

const UNREADABLE = { code: "VERDICT_UNREADABLE", message: "the verdict was stored in a form that cannot be read" };

function objectIn(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}

function timingsOf(fields: OutboxFields, subject: Subject, meta: CallMeta, publishedAt: number): Timings {
  const startedAt = momentIn(fields.startedAt);
  const admittedAt = momentIn(fields.admittedAt);
  const takenAt = momentIn(fields.takenAt);
  return {
    capturedAt: subject.capturedAtMs,
    ...(subject.detectedAtMs !== undefined && { detectedAt: subject.detectedAtMs }),
    ...(admittedAt !== undefined && { admittedAt }),
    ...(takenAt !== undefined && { takenAt }),
    ...(startedAt !== undefined && { startedAt }),
    ...(startedAt !== undefined && meta.answeredAfterMs !== null && { answeredAt: startedAt + meta.answeredAfterMs }),
    completedAt: fields.completedAt,
    publishedAt,
  };
}

function momentIn(text: string): number | undefined {
  const value = Number(text);
  return text !== "" && Number.isFinite(value) ? value : undefined;
}
