import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { PROVIDERS } from "../../src/queues/provider-presets.ts";
import { sustainedRate, Windows, windowsByAccount, windowsOf, windowsText } from "../../src/queues/window.ts";

const read = (entry: object, provider = "custom") => windowsOf(Windows.parse(entry), provider);
const faults = (entry: object) =>
  Windows.safeParse(entry).error?.issues.map(({ path, message }) => `${path.join(".")}: ${message}`) ?? [];

describe("the windows of the keys' file", () => {
  test("shorthands slide, unless told otherwise", () => {
    expect(read({ requestsPerSecond: 5, tokensPerMinute: 100_000, maxConcurrent: 8 })).toEqual({
      windows: [
        { name: "requestsPerSecond", limit: 5, windowMs: 1_000 },
        { name: "tokensPerMinute", limit: 100_000, windowMs: 60_000, unit: "tokens" },
      ],
      maxConcurrent: 8,
    });
    const kinds = { requestsPerMinute: "bucket", requestsPerDay: { kind: "calendar", zone: "Asia/Shanghai" } };
    expect(read({ requestsPerMinute: 300, requestsPerDay: 900, kinds }).windows).toEqual([
      { name: "requestsPerMinute", limit: 300, windowMs: 60_000, kind: "bucket" },
      { name: "requestsPerDay", limit: 900, windowMs: 86_400_000, kind: "calendar", zone: "Asia/Shanghai" },
    ]);
  });

  test("of what is known of providers only a calendar's day holds by itself; a bucket slides until it is said; the book names them", () => {
    const entry = { requestsPerSecond: 5, requestsPerMinute: 60, requestsPerDay: 900 };
    const kindsOf = (provider: string, more = {}) =>
      read({ ...entry, ...more }, provider).windows.map(({ kind = "sliding" }) => kind);
    expect(kindsOf("openai")).toEqual(["sliding", "sliding", "sliding"]);
    expect(kindsOf("openai", { kinds: { requestsPerMinute: "bucket" } })).toEqual(["sliding", "bucket", "sliding"]);
    expect(read(entry, "openrouter").windows.at(-1)).toMatchObject({ kind: "calendar", zone: "UTC" });
    for (const page of ["docs/quota.md", "config/keys.example.yaml"]) {
      const text = readFileSync(page, "utf8").replaceAll(/[\s#`]+/g, " ");
      const named = Object.entries(PROVIDERS).filter(([, { windows }]) =>
        Object.values(windows).some(({ kind }) => kind !== "sliding"),
      );
      expect(named.map(([name]) => name)).toEqual(["openai", "gemini", "openrouter"]);
      for (const [name, { windows }] of named) {
        const said = windows.day.kind === "calendar" ? `${name}.{1,6}${windows.day.timeZone}` : name;
        expect(text, page).toMatch(new RegExp(said));
      }
    }
  });

  test("Gemini's day is the Pacific's, where the file does not say otherwise", () => {
    const day = { name: "requestsPerDay", limit: 900, windowMs: 86_400_000 };
    expect(read({ requestsPerDay: 900 }, "gemini").windows).toEqual([
      { ...day, kind: "calendar", zone: "America/Los_Angeles" },
    ]);
    expect(read({ requestsPerDay: 900, kinds: { requestsPerDay: "sliding" } }, "gemini").windows).toEqual([day]);
  });

  test("any other length, unit and kind, with a name of its own", () => {
    const more = [
      { limit: 40, windowMs: 10_000 },
      { name: "burst", limit: 9_000, windowMs: 2_000, unit: "tokens", kind: "bucket" },
      { limit: 50, kind: "calendar" },
    ];
    expect(read({ more }).windows).toEqual([
      { name: "requestsPer10000ms", limit: 40, windowMs: 10_000 },
      { name: "burst", limit: 9_000, windowMs: 2_000, unit: "tokens", kind: "bucket" },
      { name: "requestsPerDay.UTC", limit: 50, windowMs: 86_400_000, kind: "calendar", zone: "UTC" },
    ]);
  });

  test("what cannot be is said where it stands", () => {
    expect(faults({})).toEqual([expect.stringContaining("needs at least one of requestsPerSecond")]);
    expect(faults({ maxConcurrent: 3 })).toHaveLength(1);
    expect(faults({ requestsPerSecond: 1, kinds: { requestsPerMinute: "fixed" } })).toEqual([
      "kinds.requestsPerMinute: there is no requestsPerMinute",
    ]);
    expect(faults({ requestsPerSecond: 1, kinds: { requestsPerSecond: "calendar" } })).toHaveLength(1);
    expect(faults({ more: [{ limit: 1 }] })).toEqual(["more.0.windowMs: is missing"]);
    expect(faults({ more: [{ limit: 1, windowMs: 3_600_000, kind: "calendar" }] })).toHaveLength(1);
    expect(faults({ more: [{ limit: 1, windowMs: 1_000, zone: "UTC" }] })).toHaveLength(1);
    expect(faults({ more: [{ limit: 1, kind: "calendar", zone: "California" }] })).toEqual([
      expect.stringContaining("no time zone's name"),
    ]);
    expect(faults({ more: [{ limit: 1, windowMs: 500, name: "@all" }] })).toHaveLength(1);
    const same = { name: "a", limit: 1, windowMs: 500 };
    expect(faults({ more: [same, { ...same, windowMs: 900 }] })).toEqual(["more: two windows are named a"]);
  });
});

describe("an account", () => {
  const second = (limit: number) => ({ name: "requestsPerSecond", limit, windowMs: 1_000 });
  const tokens = { name: "tokensPerMinute", limit: 60_000, windowMs: 60_000, unit: "tokens" as const };
  const day = (limit: number) => ({ name: "@callsPerDay", limit, windowMs: 86_400_000 });

  test("has the windows of all its groups, and of two alike the tighter one", () => {
    const accounts = windowsByAccount([
      { account: "a", windows: [second(5), tokens], maxConcurrent: 0 },
      { account: "a", windows: [{ ...second(3), name: "rps" }, day(9)], maxConcurrent: 7 },
      { account: "b", windows: [second(8)], maxConcurrent: 0 },
    ]);
    expect(accounts.get("a")).toEqual({
      windows: [{ ...second(3), name: "rps" }, tokens, day(9)],
      maxConcurrent: 7,
    });
    expect(accounts.get("b")).toEqual({ windows: [second(8)], maxConcurrent: 0 });
  });

  test("allows in the long run what its narrowest window does, tokens too, under what is shared", () => {
    const one = { account: "a", windows: [second(5)], maxConcurrent: 0 };
    expect(sustainedRate([one, { ...one, account: "b" }, one], 1_000)).toBe(10);
    expect(sustainedRate([{ ...one, windows: [second(5), tokens] }], 1_000)).toBe(1);
    expect(sustainedRate([{ ...one, windows: [second(5), day(864)] }], 1_000)).toBeCloseTo(0.01);
  });

  test("is known to the store by a text without secrets or surprises", () => {
    expect(
      windowsText([second(5), { ...tokens, kind: "bucket" }, { ...day(2), kind: "calendar", zone: "Etc/GMT+8" }]),
    ).toBe(
      "requestsPerSecond:5:1000:requests:sliding:;tokensPerMinute:60000:60000:tokens:bucket:;@callsPerDay:2:86400000:requests:calendar:Etc/GMT+8",
    );
  });
});
