/**
 * What a job does: spend the lease, ask the vision LLM, read its verdict, end the task. Every ending is one step in the
 * store; what cannot be ended here goes back to the waiting room, never to sleep in the worker.
 */
import type { Context } from "../context.ts";
import { errorCode, explain, VigilaneError } from "../errors.ts";
import type { ImageStore } from "../images/image-store.ts";
import type { AssessmentTask } from "../messages.ts";
import type { AssessmentJob, JobReturn } from "../queues/assessment-queue.ts";
import type { CallPolicy } from "../queues/call-policy.ts";
import type { CallFeedback, Ending, Quota, Settled, SpendAnswer } from "../queues/quota.ts";
import type { WaitingRoom } from "../queues/waiting-room.ts";
import { nextTry } from "./next-try.ts";
import { askAgain, buildPrompt } from "./prompt.ts";
import { Refusal } from "./refusal.ts";
import { blamedAllTheSame, refusalToSays } from "./refusal-to-says.ts";
import { parseVerdict } from "./verdict.ts";
import type { VisionAnswer, VisionClient } from "./vision-client.ts";

export interface AssessParts {
  quota: Quota;
  room: WaitingRoom;
  images: ImageStore;
  /** The client that calls with this key; undefined: this worker does not hold it. */
  clientOf: (keyGroup: string, keyId: string) => VisionClient | undefined;
  /** Is this group's verdict simulated whatever the answer says? */
  isSimulated: (keyGroup: string) => boolean;
  /** Does a call that is refused for its rate take a place in this group's windows at the provider? */
  refusedCallsCount: (keyGroup: string) => boolean;
  /** BullMQ's own workers of this group rest so long. */
  cool: (keyGroup: string, ms: number) => Promise<void>;
  /** This process, unlike any other that ever ran. */
  worker: string;
  callTimeoutMs: number;
  /** How often, and after how long, this group's calls are tried again. */
  policyOf: (keyGroup: string) => CallPolicy;
  /** 0 to below 1. */
  random: () => number;
}

/** A job as far as it matters here. */
export interface JobView {
  data: AssessmentJob;
  /** BullMQ gave it out again because its worker was gone. */
  stalled: boolean;
  log: (line: string) => void;
  /** Aborts when the worker stops. */
  signal: AbortSignal;
}

/** Less than any guard. */
const RESTAMP_AFTER_MS = 3;

type Lease = NonNullable<AssessmentJob["lease"]> & { taskId: string };
type Granted = Extract<SpendAnswer, { kind: "granted" }>;

/** Resolves with what people see as the job's return value; rejects only when the task ended as failed. */
export async function assessGroup(job: JobView, parts: AssessParts, context: Context): Promise<JobReturn> {
  const { task } = job.data;
  if (!job.data.lease) return await throughTheWaitingRoom(task, job, parts);
  const lease: Lease = { ...job.data.lease, taskId: task.taskId };
  try {
    return await callAndJudge(task, lease, job, parts, context);
  } catch (error) {
    if (error instanceof VigilaneError) throw error;
    // A disk or a bug of ours: this task is tried elsewhere and later, and the job is no failure that a hand could mend.
    context.log.error({ err: error, taskId: task.taskId }, "a job was given up; its task goes back");
    return await goBack(lease, null, error instanceof Error ? error.message : String(error), job, parts);
  }
}

async function callAndJudge(
  task: AssessmentTask,
  lease: Lease,
  job: JobView,
  parts: AssessParts,
  context: Context,
): Promise<JobReturn> {
  const picture = await loadPicture(task, parts.images);
  if (picture instanceof VigilaneError) {
    // A store that is away, or shut to this worker, says nothing about the task.
    if (picture.blames !== "task") return await goBack(lease, null, explain(picture), job, parts);
    return await fail(lease, picture, null, job, parts);
  }

  const spent = await parts.quota.spend(lease, parts.worker, parts.callTimeoutMs, job.stalled);
  if (spent.kind === "failed") throw new VigilaneError("ATTEMPTS_EXHAUSTED", "ended as failed when its worker died");
  if (spent.kind !== "granted") return notCalled(spent, job);
  const probing = spent.probes.length > 0 ? `, a probe of its ${spent.probes.join(" and ")}` : "";
  job.log(
    `lease of ${lease.keyGroup} spent with key ${spent.keyId}, call ${spent.attempts}, ${Math.round(spent.timeoutMs)} ms allowed${probing}`,
  );

  const client = parts.clientOf(lease.keyGroup, spent.keyId);
  if (!client) {
    const learned = feedback(lease, spent, { called: false, ok: false, latencyMs: 0 });
    return await goBack(lease, learned, `this worker does not hold key ${spent.keyId}`, job, parts);
  }
  const askedMs = context.clock.monotonicMs();
  // The lease is stamped for now; a request that leaves later is stamped anew, so that the windows hold at the provider.
  const onSent = () => {
    if (context.clock.monotonicMs() - askedMs > RESTAMP_AFTER_MS) parts.quota.restamp(lease).catch(() => {});
  };
  let answer: VisionAnswer;
  try {
    const limits = { timeoutMs: spent.timeoutMs, signal: job.signal, onSent };
    answer = await client.assess({ messages: messagesFor(task, picture, spent) }, limits);
  } catch (error) {
    if (!(error instanceof VigilaneError)) throw error;
    return await refused(error, lease, spent, context.clock.monotonicMs() - askedMs, job, parts);
  }
  return await judge(task, answer, lease, spent, job, parts);
}

/** A job without a lease (put there by hand): the one door is the waiting room. */
async function throughTheWaitingRoom(task: AssessmentTask, job: JobView, { room }: AssessParts): Promise<JobReturn> {
  const { admissions } = await room.admit([{ task, messageId: task.requestId, order: "" }]);
  job.log(`no lease: sent through the waiting room (${admissions[0]})`);
  return { outcome: "sent to the waiting room", admission: admissions[0] };
}

async function loadPicture(task: AssessmentTask, images: ImageStore): Promise<string | VigilaneError> {
  if (!task.imageUrl) return new VigilaneError("IMAGE_MISSING", "the detection brought no image of this group");
  try {
    const bytes = await images.get(task.imageUrl);
    const type = bytes[0] === 0x89 ? "png" : "jpeg";
    return `data:image/${type};base64,${bytes.toString("base64")}`;
  } catch (error) {
    if (error instanceof VigilaneError) return error;
    throw error;
  }
}

function notCalled(spent: Extract<SpendAnswer, { kind: "back" | "stale" }>, job: JobView): JobReturn {
  const became = spent.kind === "back" ? `, now ${spent.became}` : "";
  job.log(`not called: ${spent.why}${became}`);
  return { outcome: spent.kind === "back" ? "sent back to the waiting room" : "nothing to do", why: spent.why };
}

function messagesFor(task: AssessmentTask, imageDataUrl: string, { unreadable }: Granted) {
  const messages = buildPrompt(task, { imageDataUrl });
  return unreadable ? askAgain(messages, unreadable.text, unreadable.why) : messages;
}

async function judge(
  task: AssessmentTask,
  answer: VisionAnswer,
  lease: Lease,
  spent: Granted,
  job: JobView,
  parts: AssessParts,
): Promise<JobReturn> {
  const simulated = answer.simulated || parts.isSimulated(lease.keyGroup);
  const meta = {
    llmLatencyMs: answer.latencyMs,
    model: answer.model,
    simulated,
    tokens: answer.tokens,
    answeredAfterMs: answer.latencyMs,
  };
  const learned = feedback(lease, spent, {
    called: true,
    ok: true,
    networkMs: answer.networkMs,
    latencyMs: answer.latencyMs,
    ...(answer.tokens && {
      tokens: answer.tokens.prompt + answer.tokens.completion,
      promptTokens: answer.tokens.prompt,
    }),
  });
  const reading = parseVerdict(answer.text, task);
  if (reading.kind === "unreadable") {
    job.log(`the answer could not be read: ${reading.why}`);
    if (spent.unreadable) {
      const error = new VigilaneError("VERDICT_UNREADABLE", `the model's answer could not be read: ${reading.why}`);
      return await fail(lease, error, learned, job, parts, meta);
    }
    const ending: Ending = {
      kind: "back",
      unreadable: { text: answer.text.slice(0, 1_000), why: reading.why.slice(0, 200) },
      avoidMs: 0,
    };
    const settled = await settle(lease, ending, learned, job, parts);
    return { outcome: "sent back to be asked again", why: reading.why, now: settled.word };
  }
  const settled = await settle(lease, { kind: "assessed", verdict: reading.assessment, meta }, learned, job, parts);
  job.log(`${settled.word} in ${Math.round(answer.latencyMs)} ms by ${answer.model}${simulated ? " (simulated)" : ""}`);
  return {
    outcome: settled.word,
    ...(simulated && { simulated }),
    verdict: reading.assessment,
    model: answer.model,
    latencyMs: Math.round(answer.latencyMs),
  };
}

/** The provider refused, failed or did not answer; or this worker stops. */
async function refused(
  error: VigilaneError,
  lease: Lease,
  spent: Granted,
  tookMs: number,
  job: JobView,
  parts: AssessParts,
): Promise<JobReturn> {
  if (!(error instanceof Refusal)) return await goBack(lease, null, explain(error), job, parts);
  const ownDeadline = error.sorted.cause === "timeout" && spent.boundByDeadline;
  const blameless = ownDeadline || (error.sorted.cause === "timeout" && spent.cutShort);
  const sorted = blameless ? error.sorted : blamedAllTheSame(error.sorted);
  const { code, cause, cools, blames } = sorted;
  const { cooling, retry } = parts.policyOf(lease.keyGroup);
  job.log(`refused (${cause}, ${code}, rests: ${cools}): ${error.message}`);
  const learned = feedback(lease, spent, {
    called: !error.neverSent,
    ok: false,
    latencyMs: tookMs,
    // A time-out that the task's own deadline or a probe's short limit caused blames nobody.
    ...(!blameless && { code, reason: cause }),
    rateRefusal: code === "RATE_LIMITED",
    cameTooEarly: cause === "rate_second" || cause === "rate_minute",
    takesNoPlace: code === "RATE_LIMITED" && !parts.refusedCallsCount(lease.keyGroup),
    networkMs: error.networkMs,
    says: refusalToSays(sorted, blameless, cooling),
    random: parts.random(),
  });
  if (ownDeadline) return await end("expired", lease, error, learned, job, parts);
  if (error.retry === "never") return await fail(lease, error, learned, job, parts);
  // It was made to ask after the group or key, and is none of the task's calls.
  if (spent.probes.length > 0) {
    return await goBack(lease, learned, `a probe: ${error.message}`, job, parts, blames === "key" ? 0 : AVOID_MS);
  }
  const failed = {
    failures: error.neverSent ? 0 : spent.refusals + 1,
    leftMs: spent.boundByDeadline ? spent.timeoutMs - tookMs : null,
    // Another key of the same group may do where this one was at fault.
    sameGroupMayDo: blames === "key",
  };
  const next = nextTry(failed, retry, parts.random());
  switch (next.kind) {
    case "again":
      return await goBack(lease, learned, error.message, job, parts, next.avoidMs);
    case "expired":
      return await end("expired", lease, error, learned, job, parts);
    case "exhausted": {
      const said = `${failed.failures} calls were refused or failed, the last one: ${error.message}`;
      return await fail(lease, new VigilaneError("ATTEMPTS_EXHAUSTED", said), learned, job, parts);
    }
    default:
      return next satisfies never;
  }
}

/** For so long another group is preferred, where there is one. */
const AVOID_MS = 1_000;

async function goBack(
  lease: Lease,
  learned: CallFeedback | null,
  why: string,
  job: JobView,
  parts: AssessParts,
  avoidMs = AVOID_MS,
): Promise<JobReturn> {
  const settled = await settle(lease, { kind: "back", avoidMs }, learned, job, parts);
  job.log(`back to the waiting room: ${settled.word}`);
  return { outcome: "sent back to the waiting room", why, now: settled.word };
}

async function fail(
  lease: Lease,
  error: VigilaneError,
  learned: CallFeedback | null,
  job: JobView,
  parts: AssessParts,
  meta?: object,
): Promise<JobReturn> {
  return await end("failed", lease, error, learned, job, parts, meta);
}

async function end(
  kind: "failed" | "expired",
  lease: Lease,
  error: VigilaneError,
  learned: CallFeedback | null,
  job: JobView,
  parts: AssessParts,
  meta?: object,
): Promise<JobReturn> {
  const none = {
    llmLatencyMs: learned?.latencyMs ?? 0,
    model: "",
    simulated: parts.isSimulated(lease.keyGroup),
    tokens: null,
    answeredAfterMs: learned ? learned.latencyMs : null,
  };
  const settled = await settle(
    lease,
    { kind, error: { code: errorCode(error) ?? "ATTEMPTS_EXHAUSTED", message: error.message }, meta: meta ?? none },
    learned,
    job,
    parts,
  );
  job.log(`${kind}: ${explain(error)} (${settled.word})`);
  if (settled.kind === "done" && kind === "failed") throw error;
  return { outcome: settled.word, why: error.message };
}

/** The call's end; where its group rests from now on, BullMQ's workers of it do too. */
async function settle(
  lease: Lease,
  ending: Ending,
  learned: CallFeedback | null,
  job: JobView,
  { quota, cool }: AssessParts,
): Promise<Settled> {
  const settled = await quota.settle(lease, ending, learned);
  if (settled.restMs > 0) {
    job.log(`the key group rests for ${Math.round(settled.restMs)} ms`);
    cool(lease.keyGroup, Math.ceil(settled.restMs)).catch(() => {});
  }
  return settled;
}

const feedback = (lease: Lease, spent: Granted, seen: Omit<CallFeedback, "keyGroup" | "keyId">): CallFeedback => ({
  keyGroup: lease.keyGroup,
  keyId: spent.keyId,
  startedAt: spent.startedAt,
  probes: spent.probes,
  ...seen,
});
