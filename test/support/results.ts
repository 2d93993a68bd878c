/** Result messages as write-back publishes them. */
import { AssessmentResult, type Outcome, type RiskLevel } from "../../src/messages.ts";

export interface MadeResult {
  /** `<detection>_group<index>`. */
  taskId: string;
  cameraId?: string | number;
  outcome?: Outcome;
  riskLevel?: RiskLevel;
  revision?: number;
  /** ms since the epoch. Default: 400 ms ago. */
  capturedAt?: number;
  imageUrl?: string | null;
}

export function resultOf(made: MadeResult): AssessmentResult {
  const { taskId, cameraId = "north-gate", outcome = "assessed", revision = 1, riskLevel = "low" } = made;
  const capturedAt = made.capturedAt ?? Date.now() - 400;
  const [requestId = taskId, index = "1"] = taskId.split("_group");
  const groupIndex = Number(index.split("_")[0]);
  const judged = outcome === "assessed" || outcome === "reused";
  const verdict = { riskLevel, confidence: 0.9, riskTypes: ["near miss"], description: `${riskLevel} at ${taskId}` };
  return AssessmentResult.parse({
    messageId: revision === 1 ? `${taskId}_result` : `${taskId}_result_${revision}`,
    taskId,
    requestId,
    cameraId,
    timestamp: new Date(capturedAt).toISOString(),
    groupIndex,
    outcome,
    revision,
    results: judged ? [{ ...verdict, dangerObjectCount: 1, triggerObjectIds: [0], groupIndex }] : [],
    ...(outcome === "failed" ? { error: { code: "VERDICT_UNREADABLE", message: "no verdict in the answer" } } : {}),
    imageUrl: made.imageUrl ?? null,
    metadata: {
      llmLatency: judged ? 0.3 : 0,
      llmModel: "sim-vl",
      keyGroup: "sim-a",
      apiKeyId: "key-1",
      attempts: 1,
      retryCount: 0,
      tokens: null,
      simulated: true,
      timings: { capturedAt, completedAt: capturedAt + 350 },
    },
  });
}
