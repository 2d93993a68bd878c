/**
 * What a provider's name alone says of a key group: where its server is, whether it asks for a key, what it can do. The one
 * place where providers' presets come in; what the file itself says wins.
 */
import type { Capabilities } from "../queues/key-groups.ts";

export const PROVIDER_NAMES = [
  "dashscope",
  "openai",
  "gemini",
  "openrouter",
  "ollama",
  "vllm",
  "custom",
  "simulated",
] as const;
export type ProviderName = (typeof PROVIDER_NAMES)[number];

export interface ProviderDefaults {
  /** Undefined: the file must say it. */
  baseUrl?: string;
  needsKey: boolean;
  capabilities: Capabilities;
}

const PLAIN: Capabilities = { jsonObject: false, jsonSchema: false };

/** Addresses as in the providers' own documentation of their OpenAI-compatible interfaces. */
const DEFAULTS: Record<ProviderName, ProviderDefaults> = {
  dashscope: {
    baseUrl: "https://dashscope.aliyuncs.com/compatible-mode/v1",
    needsKey: true,
    capabilities: PLAIN,
  },
  openai: { baseUrl: "https://api.openai.com/v1", needsKey: true, capabilities: PLAIN },
  gemini: {
    baseUrl: "https://generativelanguage.googleapis.com/v1beta/openai",
    needsKey: true,
    capabilities: PLAIN,
  },
  openrouter: { baseUrl: "https://openrouter.ai/api/v1", needsKey: true, capabilities: PLAIN },
  ollama: { baseUrl: "http://127.0.0.1:11434/v1", needsKey: false, capabilities: PLAIN },
  vllm: { baseUrl: "http://127.0.0.1:8000/v1", needsKey: false, capabilities: PLAIN },
  custom: { needsKey: true, capabilities: PLAIN },
  simulated: { needsKey: true, capabilities: PLAIN },
};

export const defaultsOf = (provider: ProviderName): ProviderDefaults => DEFAULTS[provider];
