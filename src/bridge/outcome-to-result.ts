/** An entry of the outbox as the message of the results topic that it becomes. Pure. */
import { z } from "zod";
import { Assessment, AssessmentResult, AssessmentTask, Outcome, type Timings } from "../messages.ts";

/** Fields of one entry of the stream `{vl}:outbox`, as finish() in prelude.lua writes them. */
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
export const CallMeta = z.object({
  llmLatencyMs: z.number(),
  model: z.string(),
  simulated: z.boolean(),
  tokens: z.object({ prompt: z.number(), completion: z.number() }).nullable(),
  /** The worker's own clock: start of the call and its answer, moved to the store's by the stamp of the spend. */
  answeredAfterMs: z.number().nullable(),
});
export type CallMeta = z.infer<typeof CallMeta>;

const NO_CALL: CallMeta = { llmLatencyMs: 0, model: "", simulated: false, tokens: null, answeredAfterMs: null };

export function outcomeToResult(fields: OutboxFields, publishedAtMs: number): AssessmentResult {
  const task = AssessmentTask.parse(JSON.parse(fields.task));
  const said = fields.meta ? CallMeta.parse(JSON.parse(fields.meta)) : NO_CALL;
  // A verdict used again cost no call; who gave it, and whether it was simulated, stays said.
  const meta = fields.outcome === "reused" ? { ...NO_CALL, model: said.model, simulated: said.simulated } : said;
  const verdict = fields.verdict ? Assessment.parse(JSON.parse(fields.verdict)) : null;
  const classes = [...new Set(task.objects.map((object) => object.class))].toSorted();
  const result: AssessmentResult = {
    messageId: fields.revision > 1 ? `${task.taskId}_result_${fields.revision}` : `${task.taskId}_result`,
    taskId: task.taskId,
    requestId: task.requestId,
    cameraId: task.cameraId,
    timestamp: task.timestamp,
    groupIndex: task.groupIndex,
    outcome: fields.outcome,
    revision: fields.revision,
    results: verdict ? [{ groupIndex: task.groupIndex, ...verdict }] : [],
    ...(fields.error && { error: z.object({ code: z.string(), message: z.string() }).parse(JSON.parse(fields.error)) }),
    bbox: task.bbox,
    classes,
    imageUrl: task.imageUrl,
    metadata: {
      llmLatency: meta.llmLatencyMs / 1000,
      llmModel: meta.model,
      keyGroup: fields.keyGroup || null,
      apiKeyId: fields.key || null,
      attempts: fields.attempts,
      retryCount: Math.max(0, fields.attempts - 1),
      tokens: meta.tokens,
      simulated: meta.simulated,
      timings: timingsOf(fields, task, meta, publishedAtMs),
    },
  };
  return AssessmentResult.parse(result);
}

function timingsOf(fields: OutboxFields, task: AssessmentTask, meta: CallMeta, publishedAt: number): Timings {
  const startedAt = fields.startedAt ? Number(fields.startedAt) : undefined;
  return {
    capturedAt: task.capturedAtMs,
    detectedAt: task.detectedAtMs,
    ...(fields.admittedAt && { admittedAt: Number(fields.admittedAt) }),
    ...(fields.takenAt && { takenAt: Number(fields.takenAt) }),
    ...(startedAt !== undefined && { startedAt }),
    ...(startedAt !== undefined && meta.answeredAfterMs !== null && { answeredAt: startedAt + meta.answeredAfterMs }),
    completedAt: fields.completedAt,
    publishedAt,
  };
}
