/**
 * How many tokens a call may take at most, so that a lease can reserve them; the answer's own usage is put for it later.
 *
 * Two parts, summed in take.lua: what every call of a group has (its instructions and the answer: `PROMPT_TOKENS` and
 * `ANSWER_TOKENS`, in the group's registration), and what the task brings (facts and picture: `taskTokens`, in its record). The
 * bridge reckons both before any picture is opened: the crop's size is the box with its margin. How a picture counts is
 * the provider's rule, so that a task has a number for each rule, and the group says which is its.
 */
import type { AssessmentTask } from "../messages.ts";

/** The instructions of prompt.ts and what wraps the facts, with room for another language (test/unit/token-estimate.test.ts). */
export const PROMPT_TOKENS = 900;
/** Most tokens of an answer: what the worker asks for. */
export const ANSWER_TOKENS = 500;
/** About what a call takes when all is told: for how much can be done in the long run, never for a lease. */
export const USUAL_TOKENS = 1_100;
/** Those of them that are the answer's. */
export const USUAL_ANSWER_TOKENS = 100;

/** In the order of a task's numbers; new ones come last. */
export const IMAGE_RULES = ["patches32", "patches28", "tiles512", "tiles768"] as const;
export type ImageRule = (typeof IMAGE_RULES)[number];

interface Size {
  width: number;
  height: number;
}

const cover = (length: number, unit: number) => Math.max(1, Math.ceil(length / unit));

/**
 * Tokens of a picture, never less than the provider counts.
 *
 *   patches32   Qwen3-VL: h·w/32² + 2, sides rounded to whole patches (here: up), small pictures enlarged to 64 patches
 *   patches28   Qwen2.5-VL and earlier, the same with patches of 28 px
 *   tiles512    OpenAI's GPT-4o: 85 + 170 for each 512 px tile; not its mini, which counts many times more
 *   tiles768    Gemini: 258 up to 384 px each way, else for each tile of two thirds of the shorter side, 256 to 768 px
 *
 * Sources: DashScope's and Qwen's preprocessing (vision understanding, "image token"), platform.openai.com (images and vision),
 * ai.google.dev (tokens). Providers shrink large pictures, which only makes it less.
 */
const RULES: Record<ImageRule, (size: Size) => number> = {
  patches32: ({ width, height }) => Math.max(64, cover(width, 32) * cover(height, 32)) + 2,
  patches28: ({ width, height }) => Math.max(64, cover(width, 28) * cover(height, 28)) + 2,
  tiles512: ({ width, height }) => 85 + 170 * cover(width, 512) * cover(height, 512),
  tiles768: ({ width, height }) => {
    if (width <= 384 && height <= 384) return 258;
    const tile = Math.min(768, Math.max(256, Math.floor(Math.min(width, height) / 1.5)));
    return 258 * cover(width, tile) * cover(height, tile);
  },
};

/** The rule of a group's model; 0: none is known, and the highest number of all stands (take.lua). Counted from 1. */
export function imageRuleOf(provider: string, model: string): number {
  const name = model.toLowerCase();
  const rule = ((): ImageRule | undefined => {
    if (/qwen-?3(\.\d+)?-?(vl|plus|flash)/.test(name)) return "patches32";
    if (/qwen|qvq/.test(name)) return "patches28";
    if (/gpt-4o(?!-mini)/.test(name)) return "tiles512";
    if (provider === "gemini" || /gemini/.test(name)) return "tiles768";
    return undefined;
  })();
  return rule ? IMAGE_RULES.indexOf(rule) + 1 : 0;
}

/** The detector's crop: the group's box and 12 px around it, within the frame. Another producer's may be the whole frame. */
const MARGIN_PX = 12;

function cropOf({ bbox: [x1, y1, x2, y2], imageWidth, imageHeight }: AssessmentTask): Size {
  const within = (from: number, to: number, most: number) =>
    Math.max(1, Math.min(to + MARGIN_PX, most) - Math.max(from - MARGIN_PX, 0));
  return { width: within(x1, x2, imageWidth), height: within(y1, y2, imageHeight) };
}

/** Frame, group and features; and an object without its class's name: every digit and sign as a token of its own. */
const FACTS_TOKENS = 200;
const OBJECT_TOKENS = 100;

/** What a task adds to a call, by IMAGE_RULES. */
export function taskTokens(task: AssessmentTask): number[] {
  const facts = task.objects.reduce(
    (sum, object) => sum + OBJECT_TOKENS + Buffer.byteLength(object.class),
    FACTS_TOKENS,
  );
  const crop = cropOf(task);
  return IMAGE_RULES.map((rule) => facts + RULES[rule](crop));
}
