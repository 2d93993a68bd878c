/**
 * The versions of Kafka's requests that we would send to Redpanda, held against those that its source states
 * (redpanda/protocol-versions.yaml). kafkajs chooses by a broker's greatest version alone and never looks at its least one.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";

const Stated = z.object({ commit: z.string().regex(/^[0-9a-f]{40}$/), min: z.number().int(), max: z.number().int() });
const Table = z.object({
  repository: z.literal("redpanda-data/redpanda"),
  folder: z.string(),
  requests: z.record(
    z.string(),
    z.strictObject({
      key: z.number().int(),
      handler: z.string().endsWith(".h"),
      needs: z.number().int().default(0),
      stated: z.array(Stated).min(1),
    }),
  ),
  /** Name of the request → the method of kafkajs that would send it. */
  neverSent: z.record(z.string(), z.string()),
});
const table = Table.parse(
  parse(readFileSync(new URL("../../redpanda/protocol-versions.yaml", import.meta.url), "utf8")),
);

/** What of kafkajs' inner parts is looked at here. One request has another name there. */
const OTHER_NAMES: Record<string, string> = { GroupCoordinator: "FindCoordinator" };
const require = createRequire(import.meta.url);
const definition = z.object({ versions: z.array(z.coerce.number()) });
const kafkajs = z
  .object({
    requests: z.record(z.string(), definition),
    lookup: z.custom<
      (
        versions: Record<number, { minVersion: number; maxVersion: number }>,
      ) => (key: number, request: { versions: number[]; protocol: (chosen: { version: number }) => number }) => number
    >((value) => typeof value === "function"),
  })
  .parse(require("kafkajs/src/protocol/requests/index.js"));
const keys = z.record(z.string(), z.number()).parse(require("kafkajs/src/protocol/requests/apiKeys.js"));

const implemented = Object.entries(kafkajs.requests)
  .filter(([, { versions }]) => versions.length > 0)
  .map(([name, { versions }]) => ({ name: OTHER_NAMES[name] ?? name, key: keys[name], versions }));

describe.each(Object.entries(table.requests))("%s", (name, { key, needs, stated }) => {
  const ours = implemented.find((request) => request.name === name);

  test.each(stated)("the version that we would send is one that Redpanda has at $commit", ({ min, max }) => {
    expect(ours?.key).toBe(key);
    const versions = ours?.versions ?? [];
    const lookup = kafkajs.lookup({ [key]: { minVersion: min, maxVersion: max } });
    const chosen = lookup(key, { versions, protocol: ({ version }) => version });
    expect(versions).toContain(chosen);
    expect(chosen).toBeLessThanOrEqual(max);
    expect(chosen).toBeGreaterThanOrEqual(min);
    expect(chosen).toBeGreaterThanOrEqual(needs);
  });
});

test("every request that kafkajs can send is in the table, or is never sent", () => {
  const known = [...Object.keys(table.requests), ...Object.keys(table.neverSent)];
  expect(known.toSorted()).toEqual(implemented.map(({ name }) => name).toSorted());
});

test("what is never sent is called nowhere in our sources", () => {
  const src = fileURLToPath(new URL("../../src", import.meta.url));
  const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".ts"));
  const text = files.map((path) => readFileSync(join(src, path), "utf8")).join("\n");
  expect(text).toContain("createPartitions"); // it would be found
  for (const method of Object.values(table.neverSent)) expect(text).not.toContain(method);
});

test("a request that Redpanda lacks, and one of which it has only newer versions, would be noticed", () => {
  const versions = [0, 1, 2];
  const request = { versions, protocol: ({ version }: { version: number }) => version };
  expect(() => kafkajs.lookup({})(0, request)).toThrow(/does not support/);
  // kafkajs would send version 2 to a broker that begins at 3: why the least version is looked at above.
  expect(kafkajs.lookup({ 0: { minVersion: 3, maxVersion: 9 } })(0, request)).toBe(2);
});
