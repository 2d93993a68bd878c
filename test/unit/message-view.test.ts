import fc from "fast-check";
import { expect, test } from "vitest";
import { inOneLine, messageToJson, messageToText } from "../../src/commands/message-view.ts";
import { readWhen, showBytes, showDuration, showTime } from "../../src/commands/quantities.ts";
import type { TopicMessage } from "../../src/topics/topic-log.ts";

const message = (value: Buffer, more: Partial<TopicMessage> = {}): TopicMessage => ({
  ...{ topic: "t", shard: 3, position: "7", key: "north", value, headers: {}, deliveries: 1 },
  ...{ appendedAtMs: Date.UTC(2026, 0, 31, 12), ...more },
});

test("JSON is laid out, with where it lies; longer texts by their beginning, unless the whole is wanted", () => {
  const image = "A".repeat(5_000);
  const value = Buffer.from(JSON.stringify({ cameraId: "车", groupImages: [{ imageBase64: image }] }));
  const text = messageToText(message(value, { headers: { schema: "1" } }));
  expect(text).toMatch(/^2026-01-31T12:00:00\.000Z {2}t 3\/7 {2}key "north" {2}4\.9 KiB\n {2}schema: 1\n\{\n/);
  expect(text).toContain('"cameraId": "车"');
  expect(text).toMatch(/"A{200}… \(4800 more characters\)"/);
  expect(messageToText(message(value), { whole: true })).toContain(image);
  expect(JSON.parse(messageToJson(message(value)))).toEqual({
    ...{ topic: "t", shard: 3, position: "7", appendedAt: "2026-01-31T12:00:00.000Z", key: "north", headers: {} },
    value: { cameraId: "车", groupImages: [{ imageBase64: image }] },
  });
});

test("what is no JSON is shown as text, what is no text as bytes", () => {
  expect(messageToText(message(Buffer.from('{"confidence": NaN}')))).toMatch(/\n\{"confidence": NaN\}$/);
  expect(messageToText(message(Buffer.from([0xff, 0x00])))).toMatch(/\n\(no UTF-8\) ff00$/);
  expect(messageToText(message(Buffer.alloc(0)))).toMatch(/\n\(no bytes\)$/);
  expect(JSON.parse(messageToJson(message(Buffer.from("{"))))).toMatchObject({ text: "{" });
  expect(JSON.parse(messageToJson(message(Buffer.from([0xff, 0x00]))))).toMatchObject({ base64: "/wA=" });
});

test("no message moves the terminal's cursor or turns the direction of writing", () => {
  const text = messageToText(message(Buffer.from("a\u001b[2Jb\r\u202ec"), { key: "\u009b", headers: { h: "\u0007" } }));
  expect(text).toContain("a\\u001b[2Jb\\u000d\\u202ec");
  expect(text).not.toMatch(/[^\P{Cc}\n]|\u202e/u);
  expect(inOneLine("a\nb\u001b")).toBe("a b\\u001b");
});

test("any bytes are shown, however deep their JSON is", () => {
  for (const value of [Buffer.from("[".repeat(20_000) + "]".repeat(20_000)), Buffer.from(`"${"\\ud800"}"`)]) {
    expect(messageToText(message(value))).toContain("t 3/7");
    expect(JSON.parse(messageToJson(message(value)))).toMatchObject({ position: "7" });
    expect(messageToText(message(value), { whole: true })).toContain("t 3/7");
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.string({ unit: "binary" }), (bytes, key) => {
      const shown = message(Buffer.from(bytes), { key });
      expect(messageToText(shown)).not.toMatch(/[^\P{Cc}\n]/u);
      expect(JSON.parse(messageToJson(shown))).toMatchObject({ topic: "t" });
    }),
  );
});

test("times are written as ISO 8601, as how long ago, or as an end", () => {
  const nowMs = Date.UTC(2026, 0, 31, 12);
  const read = (text: string) => readWhen("to", text, nowMs);
  expect(["earliest", "latest"].map(read)).toEqual(["earliest", "latest"]);
  expect(["90s", "10m", "1.5h", "1d"].map((text) => nowMs - Number(read(text)))).toEqual([
    ...[90_000, 600_000, 5_400_000, 86_400_000],
  ]);
  for (const text of ["2026-01-31T12:00:00Z", "2026-01-31 12:00", "2026-01-31T13:00:00+01:00"]) {
    expect(read(text)).toBe(nowMs);
  }
  expect(read("2026-01-31")).toBe(Date.UTC(2026, 0, 31));
  for (const text of ["99999999d", `${"9".repeat(400)}d`, "1969-12-31T23:59:59Z"]) expect(read(text)).toBe("earliest");
  expect(read("1970-01-01")).toBe(0);
  for (const text of ["", "yesterday", "5", "2026-13-01", "12:00"]) expect(() => read(text)).toThrow(/is no time/);
});

test("numbers are shown as people read them", () => {
  expect([0, 1023, 1024, 1.5 * 2 ** 20, 2 ** 30].map(showBytes)).toEqual([
    "0 B",
    "1023 B",
    "1 KiB",
    "1.5 MiB",
    "1 GiB",
  ]);
  expect([400, 75_000, 720_000, 3_600_000, 604_800_000].map(showDuration)).toEqual([
    ...["0.4 s", "75 s", "12 min", "1 h", "7 d"],
  ]);
  expect(showTime(-1)).toBe("unknown");
});
