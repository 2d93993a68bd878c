/** Whose dialect a key group's provider speaks, and the rule by which an answer is sorted. Pure. */
import { dashscope } from "./dashscope.ts";
import { allWords, type Dialect, type DialectRule, type RefusedAnswer } from "./dialect.ts";
import { gemini } from "./gemini.ts";
import { generic } from "./generic.ts";
import { openai } from "./openai.ts";
import { openrouter } from "./openrouter.ts";
import { vllm } from "./vllm.ts";

export const DIALECTS = { dashscope, openai, gemini, openrouter, vllm, generic } as const satisfies Record<
  string,
  Dialect
>;
export type DialectName = keyof typeof DIALECTS;

/** By the key group's `provider`; any other name speaks the generic one. */
const SPOKEN_BY: Record<string, DialectName> = {
  dashscope: "dashscope",
  qwen: "dashscope",
  openai: "openai",
  gemini: "gemini",
  openrouter: "openrouter",
  vllm: "vllm",
  ollama: "vllm",
};

export const dialectName = (provider: string): DialectName =>
  Object.hasOwn(SPOKEN_BY, provider) ? (SPOKEN_BY[provider] ?? "generic") : "generic";

export const dialectOf = (provider: string): Dialect => DIALECTS[dialectName(provider)];

/** The first rule of the provider's own, else of the generic ones, that fits; undefined: its status alone decides. */
export function decidingRule(answer: RefusedAnswer, provider: string): DialectRule | undefined {
  const { status } = answer;
  if (status === undefined) return undefined;
  const said = allWords(answer);
  return [...dialectOf(provider).rules, ...generic.rules].find(
    ({ statuses, words }) => statuses.includes(status) && words.test(said),
  );
}
