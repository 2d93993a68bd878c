import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DIALECTS, dialectName } from "../../src/processors/dialects/registry.ts";
import { PROVIDER_NAMES, PROVIDERS, type WindowKind } from "../../src/queues/provider-presets.ts";

const FIELDS = Object.keys(PROVIDERS.dashscope).sort();

test.each([...PROVIDER_NAMES])("%s is complete", (name) => {
  const preset = PROVIDERS[name];
  expect(Object.keys(preset).sort()).toEqual(FIELDS);
  for (const url of [preset.baseUrl, ...preset.otherBaseUrls]) {
    if (url === null) continue;
    const { protocol, hostname, pathname } = new URL(url);
    // Over an open network only encrypted, and up to and including a version.
    expect(protocol === "https:" || hostname === "127.0.0.1").toBe(true);
    expect(pathname).toMatch(/\/v\d\w*(\/openai)?$/);
  }
  for (const window of Object.values(preset.windows) as WindowKind[]) {
    if (window.kind === "calendar")
      expect(() => new Intl.DateTimeFormat("en", { timeZone: window.timeZone })).not.toThrow();
  }
  expect(preset.sources.length).toBeGreaterThan(0);
  for (const source of preset.sources) {
    if (!source.startsWith("docs/")) expect(new URL(source).protocol).toBe("https:");
    else expect(readFileSync(source, "utf8")).not.toBe("");
  }
});

test("the table has the names and no others, and every provider that has a dialect has a preset", () => {
  expect(Object.keys(PROVIDERS).sort()).toEqual([...PROVIDER_NAMES].sort());
  const spoken = new Set(PROVIDER_NAMES.map(dialectName));
  expect([...spoken].sort()).toEqual(Object.keys(DIALECTS).sort());
});

test("what is special about each is said", () => {
  expect(PROVIDERS.gemini.windows.day).toEqual({ kind: "calendar", timeZone: "America/Los_Angeles" });
  expect(PROVIDERS.openai).toMatchObject({
    windows: { minute: { kind: "bucket" } },
    refusedCallsCount: true,
    maxTokensName: "max_completion_tokens",
  });
  expect(PROVIDERS.dashscope).toMatchObject({ quotaOf: "account and model", minuteEnforcedPerSecond: true });
});
