/** The form in which each provider is asked, against the simulated one, which refuses what that provider would. */
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { type Context, systemClock } from "../../src/context.ts";
import type { VigilaneError } from "../../src/errors.ts";
import { createVisionClient, type VisionClientOptions } from "../../src/processors/vision-client.ts";
import { PROVIDERS, type ProviderName } from "../../src/queues/provider-presets.ts";
import { SimulatorConfig } from "../../src/simulator/simulator-config.ts";
import { startVisionProvider } from "../../src/simulator/vision-provider.ts";

const context: Context = { clock: systemClock, log: pino({ level: "silent" }) };
const messages = [{ role: "user" as const, content: "Answer in JSON." }];

async function clientOf(dialect: string, options: Partial<VisionClientOptions>) {
  const account = { id: "a", keys: ["key"], windows: { requestsPerMinute: 100 } };
  const config = SimulatorConfig.parse({ dialect, latency: { meanMs: 0, p95Ms: 0 }, accounts: [account] });
  const provider = await startVisionProvider({ config }, context);
  const client = createVisionClient(
    { baseUrl: provider.url, secret: "key", model: "m", timeoutMs: 10_000, ...options },
    context,
  );
  onTestFinished(async () => {
    await client.close();
    await provider.stop();
  });
  return { client, seen: () => provider.stats().accounts[0] };
}

const refusalOf = (work: Promise<unknown>) =>
  work.then(
    () => {
      throw new Error("it should have been refused");
    },
    (error: unknown) => error as VigilaneError,
  );

const presetOf = (provider: ProviderName) => ({
  jsonSchema: PROVIDERS[provider].jsonSchema === true,
  jsonObject: PROVIDERS[provider].jsonObject,
});

test.each([
  ["dashscope", "dashscope", "qwen-vl-plus"],
  ["openai", "openai", "gpt-4o"],
  ["openai", "openai", "gpt-5-mini"],
  ["gemini", "gemini", "gemini-2.5-flash"],
  ["openrouter", "openrouter", "qwen/qwen3-vl"],
  ["vllm", "vllm", "llava"],
  ["generic", "custom", "some-model"],
  ["openai", "custom", "gpt-5"],
] as const)("%s takes what the preset %s asks for of %s", async (dialect, provider, model) => {
  const { client, seen } = await clientOf(dialect, { provider, model, ...presetOf(provider) });
  expect((await client.assess({ messages })).text).toContain("riskLevel");
  expect(seen()).toMatchObject({ ok: 1, refused: {} });
});

test.each([
  ["dashscope", { jsonSchema: true, jsonObject: true }, "json_schema"],
  ["generic", { jsonObject: true }, "response_format"],
] as const)(
  "%s does not know the form: nobody is blamed, and the next call asks in a looser one",
  async (dialect, known, said) => {
    const { client, seen } = await clientOf(dialect, {
      provider: dialect === "generic" ? "custom" : dialect,
      ...known,
    });
    const refusal = await refusalOf(client.assess({ messages }));
    expect(refusal).toMatchObject({ code: "REQUEST_REFUSED", retry: "elsewhere", blames: "nobody" });
    expect(refusal.message).toContain(said);
    await client.assess({ messages });
    await client.assess({ messages });
    expect(seen()).toMatchObject({ ok: 2, refused: { request: 1 } });
  },
);

test("a request that is refused for anything else is the task's, and the form stays", async () => {
  const { client } = await clientOf("openai", { provider: "openai", jsonSchema: true });
  const picture = { type: "image_url" as const, image_url: { url: "data:image/png;base64,AAAA" } };
  const refusal = await refusalOf(client.assess({ messages: [{ role: "user", content: [picture] }] }));
  expect(refusal).toMatchObject({ code: "REQUEST_REFUSED", retry: "never", blames: "task" });
});

test("an answer is cut at its most tokens", async () => {
  const { client } = await clientOf("dashscope", { maxTokens: 3 });
  const { text, tokens } = await client.assess({ messages });
  expect(text).toHaveLength(12);
  expect(tokens).toMatchObject({ completion: 3 });
});
