import { expect, test } from "vitest";
import { help } from "../../src/commands/help.ts";
import { describeSettings } from "../../src/config.ts";
import type { CameraStatus } from "../../src/messages.ts";
import { offeredByCameras, quotaWarning } from "../../src/supervisor/capacity.ts";
import { formatStatus } from "../../src/supervisor/status-line.ts";
import { createTerminal, prettyLine } from "../../src/supervisor/terminal.ts";
import { aKeyGroup } from "../support/tasks.ts";

const entry = (more: object) =>
  JSON.stringify({ level: 40, time: "2026-11-23T12:00:00.000Z", role: "bridge", pid: 1, ...more });

test("a role's line is readable: time, level, role, message, fields in short", () => {
  const line = prettyLine(entry({ msg: "slow", waiting: 3, err: { message: "why" }, long: "x".repeat(500) }), "bridge");
  expect(line).toMatch(/^\d\d:\d\d:\d\d WARN {2}bridge {5}slow {2}waiting=3 long=x{120}… error=why$/);
  expect(prettyLine("Segmentation fault", "detector")).toMatch(/^ +detector +Segmentation fault$/);
  expect(prettyLine(entry({ msg: "m" }), "bridge", true)).toContain("\u001b[33m");
});

test("an end that nobody foresaw says where it came from", () => {
  const err = {
    message: "x is not defined",
    stack: "ReferenceError: x is not defined\n    at a (b.ts:1:2)\n    at c (d.ts:3:4)",
  };
  expect(prettyLine(entry({ level: 60, msg: "x is not defined", err }), "bridge")).toMatch(
    /FATAL.*x is not defined\n +at a \(b\.ts:1:2\)\n/,
  );
});

test("as JSON every line of the output is an object, also what was none", () => {
  const lines: string[] = [];
  const terminal = createTerminal({ format: "json", level: "info", colour: false, write: (text) => lines.push(text) });
  terminal.step("store", "redis");
  terminal.say("ready");
  terminal.roleLine("bridge", entry({ msg: "m" }));
  terminal.roleLine("bridge", "plain text");
  terminal.roleLine("store", "redis-server's chatter");
  expect(lines.map((line) => JSON.parse(line).msg)).toEqual(["redis", "ready", "m", "plain text"]);
});

test("for people the store's own chatter is left out, unless it is asked for", () => {
  const shown = (level: string) => {
    const lines: string[] = [];
    const terminal = createTerminal({ format: "pretty", level, colour: false, write: (text) => lines.push(text) });
    terminal.roleLine("store", "oO0OoO0OoO0Oo Redis is starting");
    return lines.length;
  };
  expect(shown("info")).toBe(0);
  expect(shown("debug")).toBe(1);
});

test("--help names every command and every setting with its flag, variable and meaning", () => {
  const text = help().replaceAll(/\s+/g, " ");
  for (const command of [
    "up",
    "load",
    "try",
    "doctor",
    "store",
    "provider",
    "detector",
    "bridge",
    "worker",
    "results",
    "gateway",
  ]) {
    expect(text).toContain(command);
  }
  const settings = describeSettings();
  expect(settings.length).toBeGreaterThan(25);
  for (const { flag, variable, meaning } of settings) {
    expect(meaning.length, flag).toBeGreaterThan(10);
    for (const part of [flag, variable, meaning.replaceAll(/\s+/g, " ")]) expect(text).toContain(part);
  }
  expect(
    Math.max(
      ...help()
        .split("\n")
        .map((line) => line.length),
    ),
  ).toBeLessThanOrEqual(122);
});

test("the status line counts what is there, and says what went wrong", () => {
  const camera = { state: "online", frames: { decoded: 12, detected: 10, dropped: 2 } } as CameraStatus;
  const totals = {
    groups: 30,
    waiting: 2,
    inFlight: 1,
    outcomes: { assessed: 20, reused: 1, expired: 4, failed: 0 },
    endToEndP50Ms: 900,
    endToEndP95Ms: 1_840,
    coverage: 0.84,
    verdictsPerSecond: 2.04,
    quotaUsed: 0.456,
  };
  expect(formatStatus([camera, { ...camera, state: "offline" }], totals)).toBe(
    "cameras 1 of 2 online · frames 20 · groups 30 · verdicts 21 (2.0/s), 4 expired · P95 1.8 s · quota 46 % used · 2 waiting",
  );
  expect(formatStatus([], undefined)).toBe("cameras 0 of 0 online · frames 0");
});

test("what the quota cannot carry is said with its share; what it can is not mentioned", () => {
  const group = (limit: number) =>
    aKeyGroup({ id: "a", windows: [{ name: "requestsPerSecond", limit, windowMs: 1_000 }] });
  expect(quotaWarning([group(5)], offeredByCameras([1_000, 1_000]))).toBeUndefined();
  expect(quotaWarning([group(1)], offeredByCameras([500, 500]))).toMatch(
    /4\.0 groups a second.*2 cameras.*1 key group allow 1\.0 calls.*About 25 %/,
  );
});
