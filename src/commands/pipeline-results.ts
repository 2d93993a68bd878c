/**
 * What came back on the results topic, for `pipeline-test`: read with care, since older schedulers write there too. Their
 * results have no task id and no outcome; whose they are is told by the detection's id and the group's number.
 */
import { z } from "zod";
import { CameraId, Outcome } from "../messages.ts";
import { Histogram } from "../supervisor/histogram.ts";
import type { TopicMessage } from "../topics/topic-log.ts";

const maybe = <T extends z.ZodType>(schema: T) => schema.optional().catch(undefined);

const SeenResult = z.looseObject({
  requestId: z.string(),
  cameraId: CameraId,
  groupIndex: z.number().int(),
  taskId: maybe(z.string()),
  outcome: maybe(Outcome),
  revision: maybe(z.number().int()),
  results: z.array(z.unknown()).catch([]),
  /** Ours: an object with a code; older: text. */
  error: maybe(z.union([z.string(), z.looseObject({ code: z.string() })])),
  metadata: z
    .looseObject({
      llmLatency: maybe(z.number()),
      llmModel: maybe(z.string()),
      simulated: maybe(z.boolean()),
      timings: maybe(z.looseObject({ capturedAt: maybe(z.number()) })),
    })
    .catch({}),
});

/** Results that are remembered; a second one that comes after so many others is not noticed. */
const REMEMBERED = 300_000;
/** Errors beyond so many kinds are counted as "other". */
const MOST_ERRORS = 20;
const LONGEST_ERROR = 100;

export class ResultsSeen {
  /** First results of their group and revision. */
  received = 0;
  duplicates = 0;
  unreadable = 0;
  readonly outcomes: Record<Outcome, number> = { assessed: 0, reused: 0, failed: 0, expired: 0, superseded: 0 };
  /** Codes of failures (of an older scheduler: its words) and how many of each. */
  readonly errors = new Map<string, number>();
  readonly cameras = new Set<string>();
  readonly models = new Set<string>();
  /** Undefined: nothing has said so yet. */
  simulated: boolean | undefined;
  readonly llm = new Histogram();
  /** From a frame's capture, as its result says, to here. */
  readonly sinceCapture = new Histogram();
  readonly #counts: (requestId: string) => boolean;
  readonly #remembered = new Set<string>();

  /** `counts`: which detections' results do, by message id. */
  constructor(counts: (requestId: string) => boolean) {
    this.#counts = counts;
  }

  /** The task that this is the first result of; undefined: none, or a second result, a revision, or another detection's. */
  take(message: Pick<TopicMessage, "value">, nowMs: number): string | undefined {
    const parsed = SeenResult.safeParse(readJson(message.value));
    if (!parsed.success) {
      this.unreadable += 1;
      return undefined;
    }
    const { requestId, groupIndex, revision = 1, metadata } = parsed.data;
    if (!this.#counts(requestId)) return undefined;
    const taskId = parsed.data.taskId ?? `${requestId}_group${groupIndex}`;
    if (!this.#isFirst(`${taskId}#${revision}`)) {
      this.duplicates += 1;
      return undefined;
    }
    this.received += 1;
    this.cameras.add(String(parsed.data.cameraId));
    const outcome = parsed.data.outcome ?? (parsed.data.results.length > 0 ? "assessed" : "failed");
    this.outcomes[outcome] += 1;
    if (outcome === "failed") this.#failed(parsed.data.error);
    const { llmLatency = 0, llmModel, simulated, timings } = metadata;
    if (llmModel) this.models.add(llmModel);
    if (simulated !== undefined) this.simulated = this.simulated === true || simulated;
    if (llmLatency > 0) this.llm.add(llmLatency * 1000);
    if (timings?.capturedAt !== undefined) this.sinceCapture.add(Math.max(0, nowMs - timings.capturedAt));
    return revision === 1 ? taskId : undefined;
  }

  #failed(error: z.infer<typeof SeenResult>["error"]): void {
    const said = typeof error === "string" ? error.slice(0, LONGEST_ERROR) : (error?.code ?? "no reason given");
    const name = this.errors.has(said) || this.errors.size < MOST_ERRORS ? said : "other";
    this.errors.set(name, (this.errors.get(name) ?? 0) + 1);
  }

  #isFirst(key: string): boolean {
    if (this.#remembered.has(key)) return false;
    this.#remembered.add(key);
    const oldest = this.#remembered.size > REMEMBERED ? this.#remembered.values().next().value : undefined;
    if (oldest !== undefined) this.#remembered.delete(oldest);
    return true;
  }
}

function readJson(value: Buffer): unknown {
  try {
    return JSON.parse(value.toString());
  } catch {
    return undefined;
  }
}
