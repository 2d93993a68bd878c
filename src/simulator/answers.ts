/** What the simulated provider answers; what it says when it refuses is in dialects/. Pure. */
import type { FullWindow, SpokenDialect } from "./dialects/dialect.ts";
import type { Judgement } from "./judge.ts";
import type { Random } from "./latency.ts";
import type { RefuseCause } from "./simulator-config.ts";

export const MODEL = "simulated-vision";

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body: unknown;
}

/** Set at the simulator by hand, and in no provider's words. */
export const forced = (status: number): Answer => ({
  status,
  body: {
    error: {
      message: `Fault set at the simulator: ${status}.`,
      type: "simulated_fault",
      param: null,
      code: "simulated_fault",
    },
  },
});

/** What is said of a window for whose sake a call is refused although it is not full. */
const MADE_UP: Record<FullWindow, { limit: number; freeInMs: number }> = {
  second: { limit: 5, freeInMs: 700 },
  minute: { limit: 300, freeInMs: 23_000 },
  day: { limit: 250, freeInMs: 6 * 3_600_000 },
  tokens: { limit: 100_000, freeInMs: 17_000 },
  burst: { limit: 5, freeInMs: 2_000 },
  concurrency: { limit: 50, freeInMs: 1_000 },
};

/** A refusal for its own sake: the cause that was set at the account, in its dialect. */
export function refuseFor(
  cause: RefuseCause,
  dialect: SpokenDialect,
  asked: { tellsWait: boolean; nowMs: number },
): Answer {
  switch (cause) {
    case "balance":
      return dialect.arrears();
    case "key":
      return dialect.unknownKey();
    case "model":
      return dialect.modelDenied(MODEL);
    case "content":
      return dialect.contentRefused();
    case "request":
      return dialect.badRequest("The image format is illegal and cannot be opened.", 400);
    case "server":
      return dialect.serverError(false);
    default:
      return dialect.full({ kind: cause, ...MADE_UP[cause], ...asked });
  }
}

export interface Asked {
  /** All text of the messages. */
  text: string;
  images: readonly { width: number; height: number }[];
  /** Most tokens of the answer: what would be longer is cut. */
  maxTokens: number;
}

/** A chat completion that marks itself as simulated, with the tokens that a Qwen3-VL model would count. */
export function completion(id: string, createdAtMs: number, asked: Asked, whole: string): Answer {
  const content = whole.slice(0, asked.maxTokens * CHARACTERS_A_TOKEN);
  const prompt = textTokens(asked.text) + asked.images.reduce((sum, image) => sum + imageTokens(image), 0);
  const completionTokens = textTokens(content);
  return {
    status: 200,
    body: {
      id,
      object: "chat.completion",
      created: Math.floor(createdAtMs / 1_000),
      model: MODEL,
      system_fingerprint: "simulated",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content },
          finish_reason: content === whole ? "stop" : "length",
          logprobs: null,
        },
      ],
      usage: { prompt_tokens: prompt, completion_tokens: completionTokens, total_tokens: prompt + completionTokens },
    },
  };
}

/** Qwen3-VL: one token for each 32 × 32 pixels, and two. */
export const imageTokens = ({ width, height }: { width: number; height: number }) =>
  Math.floor((width * height) / 32 ** 2) + 2;
/** About four characters a token in English. */
const CHARACTERS_A_TOKEN = 4;
const textTokens = (text: string) => Math.ceil(text.length / CHARACTERS_A_TOKEN);

/** What broken answers look like: cut off, talk, a form of its own, nothing at all. None of it is a readable verdict. */
export function brokenAnswer(judgement: Judgement, random: Random): string {
  const whole = JSON.stringify(judgement);
  const forms = [
    whole.slice(0, Math.max(1, Math.floor(whole.length * 0.6))),
    `I can see that ${judgement.description}`,
    `riskLevel: ${judgement.riskLevel}\nconfidence: ${judgement.confidence}`,
    "",
  ];
  return forms[Math.floor(random() * forms.length)] ?? "";
}
