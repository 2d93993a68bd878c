/** How a camera looks now. What is not live is grey and tells its age; it is never shown as if it were live. */
import type { CameraEvent } from "../../../src/events.ts";
import { age, ago } from "./format.ts";
import { LOOK_WORDS, type Look } from "./risk.ts";

export interface CameraLook {
  look: Look;
  /** "High", "Not assessed", "Offline" */
  word: string;
  /** "2 min", "last: high, 3 min ago"; may be empty. */
  detail: string;
  /** The verdict behind it is a simulated one. */
  simulated: boolean;
}

/** A verdict older than this says nothing about the scene as it is. */
const VERDICT_LIVE_MS = 30_000;

export function cameraLook({ status, risk }: CameraEvent, live: boolean, nowMs: number): CameraLook {
  const level = risk?.riskLevel ?? null;
  const judgedMs = risk?.completedAtMs ?? null;
  const simulated = level !== null && risk?.simulated === true;
  const last =
    level === null || judgedMs === null ? "" : `last: ${LOOK_WORDS[level].toLowerCase()}, ${ago(nowMs - judgedMs)}`;

  if (!live) return { look: "away", word: LOOK_WORDS.away, detail: last, simulated };
  if (status && status.state !== "online") {
    const word = { connecting: "Connecting", stalled: "Stalled", offline: "Offline" }[status.state];
    return { look: "away", word, detail: age(nowMs - status.sinceMs), simulated: false };
  }
  if (level === null || judgedMs === null) {
    return { look: "unknown", word: LOOK_WORDS.unknown, detail: unjudged(risk?.outcome ?? null), simulated: false };
  }
  if (nowMs - judgedMs > VERDICT_LIVE_MS) {
    return { look: "away", word: "Nothing new", detail: last, simulated };
  }
  return { look: level, word: LOOK_WORDS[level], detail: ago(nowMs - judgedMs), simulated };
}

const unjudged = (outcome: string | null) =>
  outcome === null || outcome === "assessed" || outcome === "reused" ? "" : `newest group ${outcome}`;

export const cameraName = (camera: CameraEvent | undefined, cameraId: string) => camera?.status?.name || cameraId;
