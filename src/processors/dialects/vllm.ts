/** vLLM and Ollama on one's own machines: no windows and no money, but a queue, a memory, and a model that is served or not. */
import type { Dialect } from "./dialect.ts";

const VLLM = "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html";
const OLLAMA = "https://github.com/ollama/ollama/blob/main/docs/faq.md";

export const vllm: Dialect = {
  rules: [
    {
      statuses: [401],
      words: /unauthorized/,
      cause: "key",
      says: "Unauthorized",
      source: "https://github.com/vllm-project/vllm/issues/22407",
    },
    {
      statuses: [404],
      words: /does not exist|notfounderror|try pulling it first|model .{0,120}not found/,
      cause: "model",
      says: "NotFoundError: The model `…` does not exist.; model '…' not found, try pulling it first",
      source: "https://github.com/vllm-project/vllm/issues/3485",
    },
    {
      statuses: [400, 500],
      words: /not a multimodal model|at most 0 image|does not support (image|multimodal)|multimodal is disabled/,
      cause: "model",
      says: "… is not a multimodal model; At most 0 image(s) may be provided",
      source: VLLM,
    },
    {
      statuses: [400],
      words: /maximum context length|longer than the maximum model length|exceeds the available context/,
      cause: "request",
      says: "BadRequestError: This model's maximum context length is … tokens.",
      source: VLLM,
    },
    {
      statuses: [429, 503],
      words: /server busy|maximum pending requests|overloaded/,
      cause: "burst",
      cools: "maxConcurrent",
      says: "server busy, please try again. maximum pending requests exceeded",
      source: OLLAMA,
    },
  ],
};
