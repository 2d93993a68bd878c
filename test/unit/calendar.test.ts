/** Days of time zones, over changes of clocks: their starts are what the zone's own calendar shows, to the millisecond. */
import { expect, test } from "vitest";
import { dayStarts, isTimeZone } from "../../src/queues/calendar.ts";
import { dayIn } from "../support/window-model.ts";

const HOUR = 3_600_000;
const hours = (zone: string, at: string) => {
  const starts = dayStarts(zone, Date.parse(at));
  return starts.slice(1).map((start, i) => (start - (starts[i] ?? 0)) / HOUR);
};

test("a day has 23 hours when the clocks go forward, 25 when they go back", () => {
  expect(hours("America/Los_Angeles", "2026-03-07T12:00:00Z")).toEqual([24, 24, 24, 23, 24, 24, 24, 24, 24, 24]);
  expect(hours("America/Los_Angeles", "2026-10-31T12:00:00Z")).toEqual([24, 24, 24, 25, 24, 24, 24, 24, 24, 24]);
  expect(dayStarts("America/Los_Angeles", Date.parse("2026-03-08T12:00:00Z"))).toContain(
    Date.parse("2026-03-08T08:00:00Z"),
  );
  expect(dayStarts("America/Los_Angeles", Date.parse("2026-03-08T12:00:00Z"))).toContain(
    Date.parse("2026-03-09T07:00:00Z"),
  );
});

test("a day that begins at one o'clock, one that shows midnight twice, one that was left out", () => {
  // Beirut goes forward at midnight: 27 March 2022 began at 01:00 (+3). Havana goes back to midnight at one.
  expect(dayStarts("Asia/Beirut", Date.parse("2022-03-27T12:00:00Z"))).toContain(Date.parse("2022-03-26T22:00:00Z"));
  expect(hours("Asia/Beirut", "2022-03-27T12:00:00Z").slice(0, 4)).toEqual([24, 24, 23, 24]);
  expect(hours("America/Havana", "2026-10-31T12:00:00Z")).toContain(25);
  // Samoa had no 30 December 2011.
  expect(dayStarts("Pacific/Apia", Date.parse("2011-12-29T12:00:00Z")).length).toBe(10);
});

test("in every zone each start is the first moment of its date, and now lies between the third and the fourth", () => {
  for (const zone of [
    "UTC",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Marquesas",
    "Europe/Berlin",
  ]) {
    for (const at of ["2026-01-01T00:00:00Z", "2026-03-29T01:30:00Z", "2026-10-25T00:59:59.999Z"]) {
      const starts = dayStarts(zone, Date.parse(at));
      expect(starts).toHaveLength(11);
      for (const start of starts) expect(dayIn(zone, start), `${zone} ${start}`).not.toBe(dayIn(zone, start - 1));
      expect(starts[2]).toBeLessThanOrEqual(Date.parse(at));
      expect(starts[3]).toBeGreaterThan(Date.parse(at));
    }
  }
});

test("names of zones are told from other words", () => {
  expect(["UTC", "America/Los_Angeles", "Etc/GMT+8"].every(isTimeZone)).toBe(true);
  expect(["", "Pacific", "California", "a:b"].some(isTimeZone)).toBe(false);
});
