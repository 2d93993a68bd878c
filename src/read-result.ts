/**
 * Reads a message of the results topic: ours, or an older scheduler's, which judges the tasks that were handed over. That one has
 * neither task id nor outcome, and its verdicts are what the LLM said, unchecked. Never throws, whatever the bytes are.
 */
import { z } from "zod";
import { parseForgiving } from "./forgiving-json.ts";
import { AssessmentResult, CameraId, ResultEntry, RiskLevel } from "./messages.ts";
import type { TopicMessage } from "./topics/topic-log.ts";

/** Its time of the detection, if no further than this before the append. */
const OLDEST_CAPTURE_MS = 60_000;

const OlderEntry = z.looseObject({
  riskLevel: z.preprocess((said) => (typeof said === "string" ? said.trim().toLowerCase() : said), RiskLevel),
  confidence: z
    .number()
    .transform((said) => Math.min(1, Math.max(0, said)))
    .catch(0),
  riskTypes: z.array(z.string()).catch([]),
  description: z.string().catch(""),
  dangerObjectCount: z.number().int().nullable().catch(null),
  triggerObjectIds: z.array(z.number().int()).catch([]),
});

const OlderResult = z.looseObject({
  messageId: z.string().catch(""),
  requestId: z.string().min(1),
  cameraId: CameraId,
  timestamp: z.string().catch(""),
  groupIndex: z.number().int(),
  results: z.array(z.unknown()),
  error: z.string().optional().catch(undefined),
  metadata: z
    .looseObject({
      llmLatency: z.number().catch(0),
      llmModel: z.string().catch(""),
      apiKeyId: z.string().nullable().catch(null),
      retryCount: z.number().int().catch(0),
    })
    .catch({ llmLatency: 0, llmModel: "", apiKeyId: null, retryCount: 0 }),
});
type OlderResult = z.infer<typeof OlderResult>;

/** The result, or why it cannot be read. */
export function readResult({
  value,
  appendedAtMs,
}: Pick<TopicMessage, "value" | "appendedAtMs">): AssessmentResult | string {
  try {
    const json: unknown = parseForgiving(value);
    const parsed = AssessmentResult.safeParse(json);
    if (parsed.success) return parsed.data;
    // Whatever has a task id is ours, or was to be.
    const older =
      typeof json === "object" && json !== null && "taskId" in json ? undefined : OlderResult.safeParse(json);
    if (older?.success) return ofOlder(older.data, appendedAtMs);
    return parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function ofOlder(older: OlderResult, appendedAtMs: number): AssessmentResult {
  const { requestId, cameraId, timestamp, groupIndex, metadata } = older;
  const taskId = `${requestId}_group${groupIndex}`;
  const [verdict] = older.results.slice(0, 1).flatMap((entry) => OlderEntry.safeParse(entry).data ?? []);
  const said = Date.parse(timestamp);
  const capturedAt = said > appendedAtMs - OLDEST_CAPTURE_MS && said <= appendedAtMs ? said : appendedAtMs;
  const why = older.error ?? (older.results.length > 0 ? "its verdict cannot be read" : "neither verdict nor error");
  return {
    messageId: older.messageId || `${taskId}_result`,
    ...{ taskId, requestId, cameraId, timestamp, groupIndex, revision: 1 },
    outcome: verdict ? "assessed" : "failed",
    results: verdict ? [ResultEntry.parse({ ...verdict, groupIndex })] : [],
    ...(!verdict && { error: { code: "JUDGED_ELSEWHERE", message: why.slice(0, 500) } }),
    metadata: {
      llmLatency: metadata.llmLatency,
      llmModel: metadata.llmModel,
      keyGroup: null,
      apiKeyId: metadata.apiKeyId,
      attempts: metadata.retryCount + 1,
      retryCount: metadata.retryCount,
      tokens: null,
      simulated: false,
      timings: { capturedAt, publishedAt: appendedAtMs },
    },
  };
}
