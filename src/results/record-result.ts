/** Takes results into the store, each (task id, revision) once, whatever comes twice or from several processes at once. */
import type { Redis } from "ioredis";
import { z } from "zod";
import type { CameraEvent, CameraRisk } from "../events.ts";
import type { AssessmentResult } from "../messages.ts";
import { KEYS } from "../names.ts";
import { StoreScript } from "../store.ts";
import { CameraState, countsOf, EMPTY, riskOf, takeIn } from "./camera-state.ts";

/** Hash: field = camera id, value = CameraState. */
const STATES = "vl:risk-states";
/** Hash: outcomes by kind since the store began, and `duplicates`. */
export const OUTCOME_COUNTS = "vl:outcome-counts";
/** Sets of what was taken in, one for each hour of capture, so that a set is dropped as a whole. */
const seenKey = (capturedAtMs: number) => `vl:results-seen:${Math.floor(capturedAtMs / 3_600_000)}`;

const script = new StoreScript(new URL("./record-result.lua", import.meta.url));
const Reply = z.union([
  z.tuple([z.literal("recorded")]),
  z.tuple([z.literal("duplicate")]),
  z.tuple([z.literal("conflict"), z.string()]),
]);

export interface ResultRecorder {
  /** "duplicate": it was taken in before, and nothing has changed. */
  record(result: AssessmentResult): Promise<"recorded" | "duplicate">;
}

/** `rememberMs`: for how long a result may come again; as long as its topic keeps it. */
export function createResultRecorder(redis: Redis, rememberMs: number): ResultRecorder {
  /** Each camera's state as this process wrote it last: saves asking, and a conflict corrects it. */
  const states = new Map<string, string>();
  const rememberSeconds = Math.ceil(rememberMs / 1000) + 3_600;

  async function tryToRecord(result: AssessmentResult, cameraId: string) {
    const before = states.get(cameraId) ?? "";
    const state = readState(before);
    const next = takeIn(state, result);
    const risk = riskOf(cameraId, next);
    const camera: CameraEvent = { cameraId, status: null, risk };
    const written = JSON.stringify(next);
    const seen = seenKey(result.metadata.timings.capturedAt);
    const reply = await script.run(
      redis,
      [STATES, KEYS.risks, OUTCOME_COUNTS, KEYS.events, seen],
      [
        ...[`${result.taskId}#${result.revision}`, rememberSeconds, cameraId, before, written, JSON.stringify(risk)],
        ...[JSON.stringify(result), sameRisk(risk, riskOf(cameraId, state)) ? "" : JSON.stringify(camera)],
        ...countsOf(result).flat(),
      ],
    );
    const answer = Reply.parse(reply);
    if (answer[0] === "recorded") states.set(cameraId, written);
    if (answer[0] === "conflict") states.set(cameraId, answer[1]);
    return answer[0];
  }

  return {
    async record(result) {
      for (;;) {
        const answer = await tryToRecord(result, String(result.cameraId));
        if (answer !== "conflict") return answer;
      }
    },
  };
}

/** A state that cannot be read (of an older version) begins anew. */
function readState(json: string): CameraState {
  if (json === "") return EMPTY;
  const parsed = CameraState.safeParse(JSON.parse(json));
  return parsed.success ? parsed.data : EMPTY;
}

/** Counts grow with every result; pages hear of them once in a while from the gateway. */
const sameRisk = ({ counts: _a, ...a }: CameraRisk, { counts: _b, ...b }: CameraRisk) =>
  JSON.stringify(a) === JSON.stringify(b);
