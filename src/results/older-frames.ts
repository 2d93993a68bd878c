/**
 * What the older system's aggregator writes, in its place: when all results of a frame are there, the frame with its verdicts
 * goes under `camera:<id>:latest`, to the channel `camera:<id>` and, where it is dangerous, to the list `alerts:<id>`. A
 * camera's results come in order and from one process at a time.
 */
import type { Redis } from "ioredis";
import { z } from "zod";
import { type AssessmentResult, RISK_LEVELS, type RiskLevel } from "../messages.ts";
import { type Beside, StoreScript } from "../store.ts";

const KEPT_SECONDS = 300;
const MOST_ALERTS = 100;

const script = new StoreScript(new URL("./older-frame.lua", import.meta.url));
const Reply = z.array(z.string()).min(1);

export interface OlderFrames {
  /** Never rejects: what older readers miss costs us nothing. */
  take(result: AssessmentResult): Promise<void>;
}

export function createOlderFrames(older: Beside): OlderFrames {
  async function tell(redis: Redis, result: AssessmentResult): Promise<void> {
    const { requestId, taskId, revision } = result;
    if (revision > 1) return; // older readers count messages
    const frame = `vl:older-frame:${requestId}`;
    const taken = await script.run(
      redis,
      [frame, `detection:${requestId}`],
      [taskId, JSON.stringify(result), KEPT_SECONDS],
    );
    const [word, detection = "", ...texts] = Reply.parse(taken);
    if (word === "waiting" || word === "told") return;
    const camera = `camera:${result.cameraId}`;
    if (word === "alone") {
      const { cameraId, timestamp } = result;
      const said = verdictsOf([result]);
      const riskAssessment = { ...said.riskAssessment, warning: "no detection of this frame was found" };
      await redis.publish(camera, JSON.stringify({ cameraId, timestamp, ...said, riskAssessment }));
      return;
    }
    const { riskAssessment, ...said } = verdictsOf(texts.map((text) => JSON.parse(text) as AssessmentResult));
    const merged = JSON.stringify({
      ...(JSON.parse(detection) as object),
      riskAssessment: { ...riskAssessment, groupCount: texts.length },
      ...said,
    });
    const telling = redis.multi().hset(frame, "told", 1).set(`${camera}:latest`, merged, "EX", KEPT_SECONDS);
    telling.publish(camera, merged);
    if (said.maxRiskLevel === "high") {
      const alerts = `alerts:${result.cameraId}`;
      telling.lpush(alerts, merged).ltrim(alerts, 0, MOST_ALERTS - 1);
    }
    await telling.exec();
  }

  return {
    async take(result) {
      await older.ask((redis) => tell(redis, result));
    },
  };
}

/** What the aggregator says of a frame's results, in its words. */
export function verdictsOf(results: readonly AssessmentResult[]) {
  const all = results.flatMap((result) => result.results);
  const rank = (level: RiskLevel) => RISK_LEVELS.indexOf(level);
  const maxRiskLevel = all.reduce<RiskLevel>(
    (max, { riskLevel }) => (rank(riskLevel) > rank(max) ? riskLevel : max),
    "none",
  );
  return {
    riskAssessment: { allGroupResults: all, resultCount: results.length },
    hasDangerousDriving: maxRiskLevel !== "none",
    maxRiskLevel,
    llmLatency: Math.max(0, ...results.map(({ metadata }) => metadata.llmLatency)),
    llmModel: results.find(({ metadata }) => metadata.llmModel !== "")?.metadata.llmModel ?? "",
  };
}
