/** How a camera looks now. What is not live is grey and tells its age; it is never shown as if it were live. */
import type { CameraEvent } from "../../../src/events.ts";
import { age, ago } from "./format.ts";
import { LOOK_WORDS, type Look } from "./risk.ts";

export interface CameraLook {
  look: Look;
  /** "High", "Not assessed", "Offline" */
  word: string;
  /** Of what is not live: "4 min"; else empty. */
  age: string;
  /** "last: high, 3 min ago", "newest group expired"; may be empty. */
  detail: string;
  /** `look` is a simulated verdict. */
  simulated: boolean;
}

/** A verdict older than this says nothing about the scene as it is. */
const VERDICT_LIVE_MS = 30_000;

/** `live`: the gateway and its store are there. */
export function cameraLook({ status, risk }: CameraEvent, live: boolean, nowMs: number): CameraLook {
  const level = risk?.riskLevel ?? null;
  const judgedMs = risk?.completedAtMs ?? null;
  const judged = level !== null && judgedMs !== null;
  const mark = risk?.simulated ? " (simulated)" : "";
  const last = judged ? `last: ${LOOK_WORDS[level].toLowerCase()}${mark}, ${ago(nowMs - judgedMs)}` : "";
  const away = (word: string, sinceMs: number | null): CameraLook => ({
    look: "away",
    word,
    age: sinceMs === null ? "" : age(nowMs - sinceMs),
    detail: last,
    simulated: false,
  });

  if (!live) return away(LOOK_WORDS.away, judgedMs);
  if (status && status.state !== "online") {
    return away({ connecting: "Connecting", stalled: "Stalled", offline: "Offline" }[status.state], status.sinceMs);
  }
  if (!judged) {
    const detail = unjudged(risk?.outcome ?? null);
    return { look: "unknown", word: LOOK_WORDS.unknown, age: "", detail, simulated: false };
  }
  if (nowMs - judgedMs > VERDICT_LIVE_MS) return away("Nothing new", judgedMs);
  return { look: level, word: LOOK_WORDS[level], age: "", detail: "", simulated: risk?.simulated === true };
}

const unjudged = (outcome: string | null) =>
  outcome === null || outcome === "assessed" || outcome === "reused" ? "" : `newest group ${outcome}`;

export const cameraName = (camera: CameraEvent | undefined, cameraId: string) => camera?.status?.name || cameraId;
