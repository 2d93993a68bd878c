/** The dialects by name. */
import { dashscope } from "./dashscope.ts";
import type { SpokenDialect } from "./dialect.ts";
import { gemini } from "./gemini.ts";
import { generic } from "./generic.ts";
import { openai } from "./openai.ts";
import { openrouter } from "./openrouter.ts";
import { vllm } from "./vllm.ts";

export const DIALECT_NAMES = ["dashscope", "openai", "gemini", "openrouter", "vllm", "generic"] as const;
export type SpokenName = (typeof DIALECT_NAMES)[number];

export const SPOKEN: Record<SpokenName, SpokenDialect> = { dashscope, openai, gemini, openrouter, vllm, generic };
