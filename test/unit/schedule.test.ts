import { expect, test } from "vitest";
import { LookSchedule } from "../../src/detector/schedule.ts";

class FakeFrame {
  readonly name: string;
  released = 0;
  constructor(name: string) {
    this.name = name;
  }
  release() {
    this.released += 1;
  }
}

function setup(...cameras: [id: string, weight: number][]) {
  const clock = { ms: 0, monotonicMs: () => clock.ms };
  const schedule = new LookSchedule<FakeFrame>(clock);
  for (const [id, weight] of cameras) schedule.add(id, weight);
  return { clock, schedule };
}

test("a newer frame takes the older one's place, which is given back", () => {
  const { schedule } = setup(["a", 1]);
  const [older, newer] = [new FakeFrame("older"), new FakeFrame("newer")];
  expect(schedule.offer("a", older)).toBe(false);
  expect(schedule.offer("a", newer)).toBe(true);
  expect([older.released, newer.released]).toEqual([1, 0]);
  expect(schedule.next()?.frame).toBe(newer);
  expect(schedule.next()).toBeUndefined();
});

test("a camera's next look waits for the end of the one before", () => {
  const { schedule } = setup(["a", 1]);
  schedule.offer("a", new FakeFrame("1"));
  schedule.next();
  schedule.offer("a", new FakeFrame("2"));
  expect(schedule.next()).toBeUndefined();
  schedule.done("a");
  expect(schedule.next()?.frame.name).toBe("2");
});

test("who has waited longest comes first", () => {
  const { clock, schedule } = setup(["a", 1], ["b", 1]);
  for (const [atMs, first] of [
    [5, "a"],
    [10, "b"],
    [20, "a"],
  ] as const) {
    clock.ms = atMs;
    schedule.offer("a", new FakeFrame("a"));
    schedule.offer("b", new FakeFrame("b"));
    const next = schedule.next();
    expect(next?.cameraId).toBe(first);
    schedule.done(first);
  }
});

test("under overload every interval stretches alike, and by weight", () => {
  const { clock, schedule } = setup(["a", 1], ["b", 1], ["heavy", 2]);
  const looks: Record<string, number> = { a: 0, b: 0, heavy: 0 };
  for (clock.ms = 0; clock.ms < 40_000; clock.ms += 10) {
    for (const id of Object.keys(looks)) schedule.offer(id, new FakeFrame(id));
    const next = schedule.next();
    if (!next) throw new Error("nothing to look at");
    looks[next.cameraId] = (looks[next.cameraId] ?? 0) + 1;
    schedule.done(next.cameraId);
  }
  const off = (id: string, wanted: number) => Math.abs((looks[id] ?? 0) - wanted);
  expect(Math.max(off("a", 1000), off("b", 1000), off("heavy", 2000))).toBeLessThanOrEqual(3);
});

test("a frame of an unknown camera is given back, and clear gives back all", () => {
  const { schedule } = setup(["a", 1]);
  const [stranger, waiting] = [new FakeFrame("?"), new FakeFrame("a")];
  schedule.offer("?", stranger);
  schedule.offer("a", waiting);
  schedule.clear();
  expect([stranger.released, waiting.released]).toEqual([1, 1]);
  expect(schedule.next()).toBeUndefined();
});
