/** One cheap call with a key, to see whether it works; and the same call as the probe of shared quotas asks it. */
import type { Clock } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import type { ProbeAnswer } from "./probe-plan.ts";
import type { ChatMessage } from "./prompt.ts";
import { Refusal, type RefusalCause } from "./refusal.ts";
import { limitsIn, ownerIn, type ToldLimit } from "./told-limits.ts";
import type { VisionClient } from "./vision-client.ts";

/** Most tokens of the answer: enough for a word. */
export const CHECK_ANSWER_TOKENS = 16;
/** About what one such call takes in tokens, picture and answer among them. */
export const CHECK_TOKENS = 150;

/** 64 × 64 px of grey: no provider's least size is larger, and none counts it for more than its smallest picture. */
const GREY =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAAA1BMVEWAgICQdD0xAAAACXBIWXMAAAPoAAAD6AG1e1JrAAAAD0lEQVQoz2NgGAWjgHwAAAJAAAGMxat3AAAAAElFTkSuQmCC";

const CHECK: readonly ChatMessage[] = [
  {
    role: "user",
    content: [
      { type: "text", text: "Which colour? One word." },
      { type: "image_url", image_url: { url: GREY } },
    ],
  },
];
const PROBE: readonly ChatMessage[] = [{ role: "user", content: "Say ok." }];

/**
 *   usable      it answered
 *   full        the key is good, but a window of its account is full at present: somebody else is calling with it
 *   refused     the provider refuses it
 *   unanswered  there was no answer, or a server error: nothing is known of the key
 */
export const KEY_STATES = ["usable", "full", "refused", "unanswered"] as const;

export interface KeyCheck {
  state: (typeof KEY_STATES)[number];
  /** Null: usable. */
  refusal: { cause: RefusalCause; code: string; said: string; remedy: string } | null;
  /** Of the answer or the refusal; null: none came. */
  latencyMs: number | null;
  /** The configured model is there and may be used; null: not known. */
  modelFound: boolean | null;
  /** As the answer names it. */
  model: string | null;
  limits: ToldLimit[];
  owner: string | null;
  tokens: { prompt: number; completion: number } | null;
  /** The request may have taken a place at the provider. */
  sent: boolean;
}

/** One call; never repeated, and rejects only where it was stopped. */
export async function checkKey(client: VisionClient, clock: Clock): Promise<KeyCheck> {
  const askedMs = clock.monotonicMs();
  try {
    const { latencyMs, model, headers, tokens } = await client.assess({ messages: CHECK });
    return {
      ...{ state: "usable", refusal: null, latencyMs, modelFound: true, model, tokens, sent: true },
      ...{ limits: limitsIn(headers, clock.nowMs()), owner: ownerIn(headers) },
    };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const state = stateOf(error);
    return {
      state,
      refusal: {
        ...{ cause: error.sorted.cause, code: error.sorted.code, said: error.message },
        remedy: state === "full" ? FULL_REMEDY : error.remedy,
      },
      latencyMs: error.status === undefined ? null : clock.monotonicMs() - askedMs,
      modelFound: error.sorted.cause === "model" ? false : null,
      model: null,
      limits: limitsIn(error.headers, clock.nowMs()),
      owner: ownerIn(error.headers, error.message),
      tokens: null,
      sent: !error.neverSent,
    };
  }
}

const FULL_REMEDY =
  "Something else calls with this account, or its limits are tighter than its windows in the keys' file.";

function stateOf({ sorted: { code } }: Refusal): KeyCheck["state"] {
  switch (code) {
    case "RATE_LIMITED":
      return "full";
    case "PROVIDER_FAILED":
    case "PROVIDER_UNREACHABLE":
    case "CALL_TIMED_OUT":
      return "unanswered";
    default:
      return "refused";
  }
}

/** A minute's window is full for so long where nothing else is said. */
const MINUTE_MS = 60_000;

/** One call of the probe; never rejects. */
export async function probeCall(client: VisionClient, onSent: () => void): Promise<ProbeAnswer> {
  try {
    await client.assess({ messages: PROBE }, { onSent });
    return { kind: "granted" };
  } catch (error) {
    // A 503 for a burst is the server's trouble with everybody, and no window of an account.
    if (error instanceof Refusal && error.sorted.code === "RATE_LIMITED" && error.status === 429) {
      const { cause, told, coolMs } = error.sorted;
      const ofMinute = cause === "rate_minute" || cause === "tokens";
      return { kind: "full", restMs: told ? coolMs : ofMinute ? MINUTE_MS : 0 };
    }
    return { kind: "unclear", why: error instanceof VigilaneError ? error.message : String(error) };
  }
}
