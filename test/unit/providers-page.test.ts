import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ERRORS } from "../../src/errors.ts";
import { defaultsOf } from "../../src/keys/provider-defaults.ts";
import type { DialectRule } from "../../src/processors/dialects/dialect.ts";
import { DIALECTS, type DialectName } from "../../src/processors/dialects/registry.ts";
import { CAUSES, REFUSAL_CAUSES, type RefusalCause } from "../../src/processors/refusal.ts";
import {
  PROVIDERS,
  type ProviderName,
  type ProviderPreset,
  type WindowKind,
} from "../../src/queues/provider-presets.ts";

const TITLES: Record<DialectName, string> = {
  dashscope: "DashScope (`dashscope`, `qwen`)",
  openai: "OpenAI (`openai`)",
  gemini: "Gemini (`gemini`)",
  openrouter: "OpenRouter (`openrouter`)",
  vllm: "vLLM and Ollama (`vllm`, `ollama`)",
  generic: "Any other (`custom`, `simulated`, and what the tables above do not know)",
};
/** What each cause is for people. */
const MEANS: Record<RefusalCause, string> = {
  rate_second: "too many calls a second",
  rate_minute: "too many calls a minute",
  burst: "too many at once, or too suddenly",
  tokens: "too many tokens a minute",
  day: "the day's (or the plan's) quota is used up",
  balance: "not paid",
  key: "the key (or its owner's country) is not accepted",
  model: "the model may not be used, or is not there",
  content: "the picture or the text is refused",
  request: "the request is bad",
  server: "the provider failed",
  timeout: "no answer in time",
  network: "nobody answered",
};
const PROBED = "probed after 3, 6, 12 … s, up to an hour";
const BREAKER = "after five in a row a probe decides";
const RESTS: Partial<Record<RefusalCause, string>> = {
  rate_second: "0.15 s; 1 to 10 s from 5 % of its calls on",
  burst: "2 s, up to 10 s while it goes on",
  rate_minute: "10 s, up to 60 s while it goes on",
  tokens: "10 s, up to 60 s while it goes on",
  day: `${PROBED}, and when the day ends where the provider says when`,
  balance: PROBED,
  key: PROBED,
  model: PROBED,
  server: `1 s; 10 to 120 s from a fifth of its calls on; ${BREAKER}`,
  timeout: `1 s; 10 to 120 s from a fifth of its calls on; ${BREAKER}`,
  network: `1 s, up to 10 s while it goes on; ${BREAKER}`,
};

const cell = (text: string) => text.replaceAll("|", "\\|");
const row = (...cells: string[]) => `| ${cells.map(cell).join(" | ")} |`;

function causeRow(cause: RefusalCause): string {
  const { code, cools } = CAUSES[cause];
  const { retry, blames } = ERRORS[code];
  return row(`\`${cause}\``, MEANS[cause], `\`${code}\``, cools, RESTS[cause] ?? "–", blames, retry);
}

function ruleRow({ statuses, says, cause, cools, retry, source }: DialectRule): string {
  const others = [cools && `rests: ${cools}`, retry && `again: ${retry}`].filter(Boolean).join("; ");
  return row(statuses.join(", "), says, `\`${cause}\`${others ? ` (${others})` : ""}`, `[source](${source})`);
}

const windowText = (window: WindowKind) =>
  window.kind === "calendar" ? `calendar (${window.timeZone})` : (window.kind as string);
function presetRow([name, preset]: [ProviderName, ProviderPreset]): string {
  const { second, minute, day } = preset.windows;
  return row(
    `\`${name}\``,
    preset.baseUrl === null ? "your own" : `\`${preset.baseUrl}\``,
    preset.quotaOf,
    `${windowText(second)}, ${windowText(minute)}, ${windowText(day)}`,
    // As it counts where the keys' file does not say: of a server of which nothing is known the stricter is taken.
    defaultsOf(name).refusedCallsCount ? "yes" : "no",
    preset.jsonSchema === true ? "object, schema" : preset.jsonObject ? "object" : "–",
    `\`${preset.maxTokensName}\``,
  );
}

/** The page as it must read. */
function page(): string {
  const dialects = (Object.entries(TITLES) as [DialectName, string][]).map(
    ([name, title]) =>
      `### ${title}\n\n| status | says | cause | |\n| --- | --- | --- | --- |\n${DIALECTS[name].rules.map(ruleRow).join("\n")}\n`,
  );
  return `# Providers

What each vision LLM's provider is known to say when it refuses, and what vigilane does then. The tables are those of
\`src/processors/dialects/\`, \`src/processors/refusal.ts\` and \`src/queues/provider-presets.ts\`; a test keeps them alike. Whose
words are expected is the key group's \`provider\` in config/keys.yaml.

## What follows from each cause

A wait that the provider names (Retry-After, x-ratelimit-reset-*, "try again in 20s", retryDelay) is kept exactly and comes before the
table's. Other rests are longer by up to a fifth by chance, and a later one never shortens an earlier one. *Rests* names what was full or
at fault: a key alone, else the whole group, of which no call goes out meanwhile. *Again* says where the task is tried:
*elsewhere* is another key group at once, the same one after 2, then 4 seconds; after three failures (\`maxAttempts\`) the task
fails, and past its deadline it expires. A failed task is never "none".

What is *probed* is disabled and comes back by itself; [Quota](quota.md#states) says how, and what a probe costs the task that is sent with it.

| cause | means | code | rests | how long | at fault | again |
| --- | --- | --- | --- | --- | --- | --- |
${REFUSAL_CAUSES.map(causeRow).join("\n")}

## What they say

The first row that fits decides; a row's *rests* and *again* come before those of its cause. What no row of a provider knows is tried
by the last table, and then by its status alone: 429 is a second's window (or, with a wait of more than 3 s, a minute's), 401 and
403 the key, 402 the balance, 404 the model, 408 and 504 a time-out, other 5xx the server, all others the request.

${dialects.join("\n")}
## What is known of them

Kinds of windows for a second, a minute and a day, as the provider counts; *sliding* is the strictest and right wherever the provider does not say. Of
these the calendar days hold by themselves; a bucket is counted as sliding, which never exceeds it, until \`kinds\` in the keys' file says \`bucket\`
([why](quota.md#kinds)). *Refused
count*: refused calls take a place in the windows too, unless \`refusedCallsCount\` in the keys' file says otherwise; for \`custom\` the stricter
is taken. At DashScope and OpenAI a limit of a minute may be enforced as a sixtieth of it
each second. *JSON*: the strictest of these is asked for - \`response_format\` json_schema with the verdict's own schema, else json_object, else
the prompt alone - and \`capabilities\` in the keys' file says otherwise. A server that refuses the form is asked in the next looser one from then
on; the task is tried again. *Most tokens* is what the limit of an answer is called; OpenAI's reasoning models (o…, gpt-5…) get
\`max_completion_tokens\` at a custom server too, and no temperature anywhere.

| provider | base URL | quota of | windows | refused count | JSON | most tokens |
| --- | --- | --- | --- | --- | --- | --- |
${(Object.entries(PROVIDERS) as [ProviderName, ProviderPreset][]).map(presetRow).join("\n")}
`;
}

test("docs/providers.md is the tables of the code (write it anew with VIGILANE_WRITE_DOCS=1)", () => {
  if (process.env.VIGILANE_WRITE_DOCS === "1") writeFileSync("docs/providers.md", page());
  expect(readFileSync("docs/providers.md", "utf8")).toBe(page());
});
