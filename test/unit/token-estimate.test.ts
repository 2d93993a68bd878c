/** A lease reserves more tokens than the call takes: the prompt as it is really sent, counted pessimistically. */
import { expect, test } from "vitest";
import { buildPrompt } from "../../src/processors/prompt.ts";
import { ANSWER_TOKENS, IMAGE_RULES, imageRuleOf, PROMPT_TOKENS, taskTokens } from "../../src/queues/token-estimate.ts";
import { aTask } from "../support/tasks.ts";

/** Each digit and sign is a token, each word one for every four letters: more than any tokenizer of these models makes of it. */
function tokensAtMost(text: string): number {
  const words = text.match(/\p{L}+/gu) ?? [];
  const letters = words.reduce((sum, word) => sum + Math.ceil(word.length / 4), 0);
  return letters + text.replaceAll(/[\p{L}\s]/gu, "").length + (text.match(/\n/g)?.length ?? 0);
}

const textOf = (task: ReturnType<typeof aTask>, language?: string) =>
  buildPrompt(task, { imageDataUrl: "", ...(language && { language }) })
    .map(({ content }) =>
      typeof content === "string" ? content : content.map((part) => (part.type === "text" ? part.text : "")).join(""),
    )
    .join("\n");

const crowd = (n: number) =>
  Array.from({ length: n }, (_, i) => ({
    class: "traffic light",
    confidence: 0.87654321,
    bbox: [1234.56789 + i, 987.654321, 1899.999, 1079.4999] as [number, number, number, number],
    trackId: 987_654 + i,
  }));

test("the prompt holds no more than is reserved for it, however many objects it is about", () => {
  for (const n of [0, 1, 3, 12, 60]) {
    const task = aTask({
      objects: crowd(n),
      memberIndices: crowd(n).map((_, i) => 100 + i),
      imageWidth: 3840,
      imageHeight: 2160,
      features: {
        vulnerableToVehiclePx: 1234.5,
        vulnerableToVehicleHeights: 12.34,
        closingSpeedPxPerSecond: 1234.5,
        maxOverlap: 0.123,
      },
    });
    const picture = 2; // the smallest number of any rule is far above it
    const reserved = PROMPT_TOKENS + Math.min(...taskTokens({ ...task, bbox: [0, 0, 1, 1] })) - 66;
    expect(reserved, `${n} objects`).toBeGreaterThan(tokensAtMost(textOf(task, "simplified Chinese")) + picture);
  }
  expect(ANSWER_TOKENS).toBe(500);
});

test("a picture counts by its provider's rule, with the margin of its crop", () => {
  const facts = taskTokens(aTask({ objects: [], bbox: [0, 0, 1, 1] }))[0] ?? 0;
  const picture = (width: number, height: number) => {
    const task = aTask({ objects: [], imageWidth: 4000, imageHeight: 4000, bbox: [12, 12, width - 12, height - 12] });
    return Object.fromEntries(taskTokens(task).map((n, i) => [IMAGE_RULES[i], n - facts + 66]));
  };
  expect(picture(512, 512)).toEqual({ patches32: 258, patches28: 363, tiles512: 255, tiles768: 1032 });
  expect(picture(640, 640)).toMatchObject({ patches32: 402, tiles512: 765 });
  expect(picture(384, 384)).toMatchObject({ tiles768: 258 });
  // At the frame's edge the crop has no margin.
  expect(taskTokens(aTask({ objects: [], imageWidth: 640, imageHeight: 384, bbox: [0, 0, 640, 384] }))[0]).toBe(
    facts - 66 + 242,
  );
});

test("the model says which rule, and where it says none the highest number stands", () => {
  const rule = (provider: string, model: string) => IMAGE_RULES[imageRuleOf(provider, model) - 1];
  expect(rule("dashscope", "qwen3-vl-plus")).toBe("patches32");
  expect(rule("vllm", "Qwen/Qwen3-VL-8B-Instruct")).toBe("patches32");
  expect(rule("dashscope", "qwen-vl-plus")).toBe("patches28");
  expect(rule("openai", "gpt-4o-2024-08-06")).toBe("tiles512");
  expect(rule("openai", "gpt-4o-mini")).toBeUndefined();
  expect(rule("gemini", "gemini-2.5-flash")).toBe("tiles768");
  expect(rule("custom", "llava")).toBeUndefined();
});
