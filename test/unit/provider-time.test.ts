import { expect, test } from "vitest";
import { networkMs, processingMs } from "../../src/processors/provider-time.ts";

test.each([
  [{ "openai-processing-ms": "812" }, 812],
  [{ "req-cost-time": "1234", "x-envoy-upstream-service-time": "1230" }, 1234],
  [{ "x-envoy-upstream-service-time": "45.5" }, 45.5],
  [{ "server-timing": "gfet4t7; dur=1810" }, 1810],
  [{ "server-timing": 'cache;desc="hit", db;dur=53, app;dur="470.2"' }, 470.2],
  [{ "server-timing": "miss" }, undefined],
  [{ "openai-processing-ms": "soon" }, undefined],
  [{ "openai-processing-ms": "-5" }, undefined],
  [{}, undefined],
])("%o says %s ms of work", (headers, ms) => {
  expect(processingMs(headers as Record<string, string>)).toBe(ms);
});

test("the network's part is what the provider did not work; a refusal was no work", () => {
  expect(networkMs(1000, { "openai-processing-ms": "960" }, false)).toBe(40);
  expect(networkMs(35, {}, true)).toBe(35);
  expect(networkMs(35, { "openai-processing-ms": "5" }, true)).toBe(30);
});

test("what is not said, or cannot be, is not guessed", () => {
  expect(networkMs(1000, {}, false)).toBeNull();
  expect(networkMs(1000, { "openai-processing-ms": "1001" }, false)).toBeNull();
});
