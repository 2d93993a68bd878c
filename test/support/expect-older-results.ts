/** What the older system's consumers rely on in a message of the results topic, and one for each entry of trafficGroups. */
import { expect } from "vitest";
import type { Variant } from "./older-variants.ts";

export interface SeenResult {
  /** Kafka's key. */
  key: string;
  /** The message as JSON. */
  value: Record<string, unknown>;
}

/** `seen`: every message of the topic. Fails with the variant's name. */
export function expectOlderResults(variants: readonly Variant[], seen: readonly SeenResult[]): void {
  const byCamera = Map.groupBy(seen, ({ value }) => value.cameraId);
  for (const variant of variants) {
    const found = byCamera.get(variant.cameraId) ?? [];
    const ends = found.map(({ value }) => [value.groupIndex, endOf(value, variant)]);
    expect(ends.toSorted(), variant.what).toEqual(variant.ends.toSorted());
    for (const { key, value } of found) {
      expect(key, variant.what).toBe(String(variant.cameraId));
      expect(value, variant.what).toMatchObject({
        ...{ messageId: expect.any(String), timestamp: variant.timestamp, results: expect.any(Array) },
        requestId: variant.messageId ?? expect.stringMatching(/^detection-results-\d+-\d+/),
        metadata: { llmLatency: expect.any(Number), llmModel: expect.any(String), retryCount: expect.any(Number) },
      });
      expect((value.metadata as Record<string, unknown>).apiKeyId === undefined, variant.what).toBe(false);
      const entries = value.results as Record<string, unknown>[];
      if (value.outcome !== "assessed") expect([entries, typeof value.error], variant.what).toEqual([[], "object"]);
      else
        expect(entries, variant.what).toMatchObject([{ groupIndex: value.groupIndex, riskLevel: expect.any(String) }]);
    }
  }
  expect(seen).toHaveLength(variants.flatMap(({ ends }) => ends).length);
}

/** The error's code, where the variant names one. */
function endOf({ outcome, error }: Record<string, unknown>, { ends }: Variant): unknown {
  if (ends.some(([, end]) => end === outcome) && outcome === "failed") return outcome;
  return (error as { code?: string } | undefined)?.code ?? outcome;
}
