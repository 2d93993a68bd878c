/**
 * What is known of each named provider: where it is reached, how it counts, what it can do. Data with their sources, no
 * logic; a key group that names a provider need not say these again. Limits themselves are not here: they belong to each
 * account. What a provider's refusals mean is in processors/dialects/.
 */

/** The providers that a key group may name; "custom" is any other OpenAI-compatible server, "simulated" our own. */
export const PROVIDER_NAMES = [
  "dashscope",
  "openai",
  "gemini",
  "openrouter",
  "vllm",
  "ollama",
  "simulated",
  "custom",
] as const;
export type ProviderName = (typeof PROVIDER_NAMES)[number];

/**
 * How a window is counted.
 *   sliding   at every moment the span before it: the strictest; right wherever the provider does not say
 *   fixed     from one multiple of its length since 1970 (UTC) to the next
 *   calendar  from midnight to midnight in `timeZone`
 *   bucket    a store of `limit` calls that refills evenly all the time
 */
export type WindowKind =
  | { kind: "sliding" }
  | { kind: "fixed" }
  | { kind: "calendar"; timeZone: string }
  | { kind: "bucket" };

/** How many tokens a picture of `width` × `height` px costs; an estimate to reserve by, the answer's usage is the truth. */
export type ImageTokens =
  /** One for each `sidePx` × `sidePx`, plus `base`; the provider scales larger pictures down to `maxTokens`. */
  | { rule: "patches"; sidePx: number; base: number; maxTokens: number }
  /** `base`, and `perTile` for each tile of `sidePx`, after the picture was fitted into `fitPx` and its short side into `shortSidePx`. */
  | { rule: "tiles"; sidePx: number; base: number; perTile: number; fitPx: number; shortSidePx: number }
  /** `perTile` for a picture of which both sides are at most `smallPx`, else for each tile of `sidePx`. */
  | { rule: "flatOrTiles"; smallPx: number; sidePx: number; perTile: number }
  /** It depends on the model that is served. */
  | { rule: "unknown" };

export interface ProviderPreset {
  /** Up to and including the version, as documented (of a server of one's own: where it listens by default); null: none. */
  baseUrl: string | null;
  /** Further documented addresses (regions), for people. */
  otherBaseUrls: readonly string[];
  /** Whose quota it is: keys of one such domain add no quota. */
  quotaOf: "account and model" | "project and model" | "organization and model" | "account" | "server";
  /** How its windows are counted, by their length. */
  windows: { second: WindowKind; minute: WindowKind; day: WindowKind };
  /** A limit of a minute may be enforced as a sixtieth of it each second, so a burst is refused although the minute has room. */
  minuteEnforcedPerSecond: boolean;
  /** Refused calls take a place in the windows too, so that hurrying makes it worse. */
  refusedCallsCount: boolean;
  /** It sends x-ratelimit-* or Retry-After with a refusal. */
  tellsWait: boolean;
  /** response_format { type: "json_object" } is understood. */
  jsonObject: boolean;
  /** response_format { type: "json_schema" } is understood; "model": by some of its models. */
  jsonSchema: boolean | "model";
  /** How a picture is handed over: as a data: URL in image_url. All of these take it. */
  imageInput: "data-url";
  /** What the most tokens of an answer are called. */
  maxTokensName: "max_tokens" | "max_completion_tokens";
  imageTokens: ImageTokens;
  /** It needs a key; false: any text will do. */
  needsKey: boolean;
  /** Where all this is documented. */
  sources: readonly string[];
}

const SLIDING: WindowKind = { kind: "sliding" };
const ALL_SLIDING = { second: SLIDING, minute: SLIDING, day: SLIDING };

export const PROVIDERS: Readonly<Record<ProviderName, ProviderPreset>> = {
  dashscope: {
    baseUrl: "https://dashscope.aliyuncs.com/compatible-mode/v1",
    otherBaseUrls: ["https://dashscope-intl.aliyuncs.com/compatible-mode/v1"],
    quotaOf: "account and model",
    windows: ALL_SLIDING,
    minuteEnforcedPerSecond: true,
    refusedCallsCount: false,
    tellsWait: false,
    jsonObject: true,
    jsonSchema: "model",
    imageInput: "data-url",
    maxTokensName: "max_tokens",
    // Qwen3-VL; the older Qwen2.5-VL counts 28 px. The upper end is the models' own, which a request may lower.
    imageTokens: { rule: "patches", sidePx: 32, base: 2, maxTokens: 16_384 },
    needsKey: true,
    sources: [
      "https://www.alibabacloud.com/help/en/model-studio/rate-limit",
      "https://www.alibabacloud.com/help/en/model-studio/vision",
      "https://www.alibabacloud.com/help/en/model-studio/json-mode",
      "https://huggingface.co/Qwen/Qwen2-VL-7B-Instruct",
    ],
  },
  openai: {
    baseUrl: "https://api.openai.com/v1",
    otherBaseUrls: [],
    quotaOf: "organization and model",
    windows: { second: { kind: "bucket" }, minute: { kind: "bucket" }, day: { kind: "bucket" } },
    minuteEnforcedPerSecond: true,
    refusedCallsCount: true,
    tellsWait: true,
    jsonObject: true,
    jsonSchema: true,
    imageInput: "data-url",
    maxTokensName: "max_completion_tokens",
    // GPT-4o and its like; others of its models count patches of 32 px or other figures a tile.
    imageTokens: { rule: "tiles", sidePx: 512, base: 85, perTile: 170, fitPx: 2_048, shortSidePx: 768 },
    needsKey: true,
    sources: [
      "https://platform.openai.com/docs/guides/rate-limits",
      "https://help.openai.com/en/articles/5955604-how-can-i-so",
      "https://platform.openai.com/docs/guides/images-vision",
      "https://platform.openai.com/docs/guides/structured-outputs",
    ],
  },
  gemini: {
    baseUrl: "https://generativelanguage.googleapis.com/v1beta/openai",
    otherBaseUrls: [],
    quotaOf: "project and model",
    windows: { second: SLIDING, minute: SLIDING, day: { kind: "calendar", timeZone: "America/Los_Angeles" } },
    minuteEnforcedPerSecond: false,
    refusedCallsCount: false,
    tellsWait: true,
    jsonObject: true,
    jsonSchema: true,
    imageInput: "data-url",
    maxTokensName: "max_tokens",
    imageTokens: { rule: "flatOrTiles", smallPx: 384, sidePx: 768, perTile: 258 },
    needsKey: true,
    sources: [
      "https://ai.google.dev/gemini-api/docs/rate-limits",
      "https://ai.google.dev/gemini-api/docs/openai",
      "https://ai.google.dev/gemini-api/docs/tokens",
    ],
  },
  openrouter: {
    baseUrl: "https://openrouter.ai/api/v1",
    otherBaseUrls: [],
    quotaOf: "account",
    windows: { second: SLIDING, minute: SLIDING, day: { kind: "calendar", timeZone: "UTC" } },
    minuteEnforcedPerSecond: false,
    // "Failed attempts still count toward your daily quota" of free models.
    refusedCallsCount: true,
    tellsWait: true,
    jsonObject: true,
    jsonSchema: "model",
    imageInput: "data-url",
    maxTokensName: "max_tokens",
    imageTokens: { rule: "unknown" },
    needsKey: true,
    sources: [
      "https://openrouter.ai/docs/api/reference/limits",
      "https://openrouter.ai/docs/api/reference/errors-and-debugging",
      "https://openrouter.ai/docs/features/structured-outputs",
    ],
  },
  vllm: {
    baseUrl: "http://127.0.0.1:8000/v1",
    otherBaseUrls: ["http://127.0.0.1:8000/v1"],
    quotaOf: "server",
    windows: ALL_SLIDING,
    minuteEnforcedPerSecond: false,
    refusedCallsCount: false,
    tellsWait: false,
    jsonObject: true,
    jsonSchema: true,
    imageInput: "data-url",
    maxTokensName: "max_tokens",
    imageTokens: { rule: "unknown" },
    needsKey: false,
    sources: ["https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"],
  },
  ollama: {
    baseUrl: "http://127.0.0.1:11434/v1",
    otherBaseUrls: [],
    quotaOf: "server",
    windows: ALL_SLIDING,
    minuteEnforcedPerSecond: false,
    refusedCallsCount: false,
    tellsWait: false,
    jsonObject: true,
    jsonSchema: true,
    imageInput: "data-url",
    maxTokensName: "max_tokens",
    imageTokens: { rule: "unknown" },
    needsKey: false,
    sources: [
      "https://docs.ollama.com/api/openai-compatibility",
      "https://github.com/ollama/ollama/blob/main/docs/faq.md",
    ],
  },
  simulated: {
    baseUrl: null,
    otherBaseUrls: [],
    quotaOf: "account",
    windows: ALL_SLIDING,
    minuteEnforcedPerSecond: false,
    refusedCallsCount: false,
    tellsWait: false,
    jsonObject: true,
    jsonSchema: false,
    imageInput: "data-url",
    maxTokensName: "max_tokens",
    imageTokens: { rule: "patches", sidePx: 32, base: 2, maxTokens: Number.MAX_SAFE_INTEGER },
    needsKey: true,
    sources: ["docs/simulator.md"],
  },
  custom: {
    baseUrl: null,
    otherBaseUrls: [],
    quotaOf: "account",
    windows: ALL_SLIDING,
    minuteEnforcedPerSecond: false,
    refusedCallsCount: false,
    tellsWait: false,
    // The prompt alone asks for JSON: whoever knows more says so.
    jsonObject: false,
    jsonSchema: false,
    imageInput: "data-url",
    maxTokensName: "max_tokens",
    imageTokens: { rule: "unknown" },
    needsKey: true,
    sources: ["https://platform.openai.com/docs/api-reference/chat"],
  },
};
