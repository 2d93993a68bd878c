import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  afterEvent,
  DEFAULT_KEY_STATE_POLICY,
  FRESH,
  fieldsToRecord,
  KEY_STATES,
  type KeyEvent,
  type KeyRecord,
  type KeyState,
  mayCall,
  recordToFields,
  stateOf,
} from "../../src/queues/key-state.ts";

const NOW = 1_000_000;
const MINUTE = 60_000;
/** The middle of every variation. */
const EVEN = 0.5;

/** Every standing that differs in what may follow, each with the state that people see. */
const STANDINGS: Record<string, { record: KeyRecord; state: KeyState; may: string }> = {
  fresh: { record: FRESH, state: "available", may: "yes" },
  "rested after cooling": { record: { ...FRESH, coolUntilMs: NOW }, state: "available", may: "yes" },
  "in use": { record: { ...FRESH, inFlight: 2 }, state: "in_use", may: "yes" },
  cooling: { record: { ...FRESH, inFlight: 1, coolUntilMs: NOW + 5_000 }, state: "cooling", may: "no" },
  "breaker open": {
    record: { ...FRESH, inFlight: 1, open: true, failures: 5, coolUntilMs: NOW + 5_000 },
    state: "cooling",
    may: "no",
  },
  "half-open": { record: { ...FRESH, open: true, failures: 5, coolUntilMs: NOW }, state: "cooling", may: "probe" },
  "half-open, probing": {
    record: { ...FRESH, inFlight: 1, open: true, failures: 5, probingUntilMs: NOW + 8_000 },
    state: "cooling",
    may: "no",
  },
  disabled: {
    record: { ...FRESH, inFlight: 1, off: "refused", strikes: 2, probeAtMs: NOW + MINUTE },
    state: "disabled",
    may: "no",
  },
  "disabled, probe due": {
    record: { ...FRESH, off: "refused", strikes: 2, probeAtMs: NOW },
    state: "disabled",
    may: "probe",
  },
  "disabled, probing": {
    record: { ...FRESH, inFlight: 1, off: "refused", strikes: 2, probeAtMs: NOW, probingUntilMs: NOW + 8_000 },
    state: "disabled",
    may: "no",
  },
  "switched off": { record: { ...FRESH, inFlight: 1, off: "by_hand" }, state: "disabled", may: "no" },
};
type Standing = keyof typeof STANDINGS;

const EVENTS: Record<string, KeyEvent> = {
  taken: { kind: "taken", endsByMs: NOW + 9_000 },
  begun: { kind: "begun", probe: false, endsByMs: NOW + 9_000 },
  "probe begun": { kind: "begun", probe: true, endsByMs: NOW + 9_000 },
  returned: { kind: "returned", probe: false, called: true },
  "probe returned": { kind: "returned", probe: true, called: true },
  succeeded: { kind: "succeeded", probe: false },
  "probe succeeded": { kind: "succeeded", probe: true },
  innocent: { kind: "innocent", probe: false },
  "probe innocent": { kind: "innocent", probe: true },
  limited: { kind: "limited", probe: false, coolMs: 2_000 },
  "probe limited": { kind: "limited", probe: true, coolMs: 2_000 },
  failed: { kind: "failed", probe: false, coolMs: 10_000 },
  "probe failed": { kind: "failed", probe: true, coolMs: 10_000 },
  refused: { kind: "refused", probe: false, firstMs: MINUTE, untilMs: null },
  "probe refused": { kind: "refused", probe: true, firstMs: MINUTE, untilMs: null },
  "worker started": { kind: "worker_started" },
  "switched off": { kind: "switched_off" },
  "switched on": { kind: "switched_on" },
};

/** The state after each event, in the order of EVENTS: a available, u in use, c cooling, d disabled. */
const TABLE: Record<Standing, string> = {
  //                       tk be be✓ rt rt✓ ok ok✓ in in✓ li li✓ fa fa✓ re re✓ ws  off on
  fresh: "                 u  a  a   a  a   a  a   a  a   c  c   c  c   d  d   a   d   a",
  "rested after cooling": "u  a  a   a  a   a  a   a  a   c  c   c  c   d  d   a   d   a",
  "in use": "              u  u  u   u  u   u  u   u  u   c  c   c  c   d  d   u   d   u",
  cooling: "               c  c  c   c  c   c  c   c  c   c  c   c  c   d  d   c   d   c",
  "breaker open": "        c  c  c   c  c   c  c   c  c   c  c   c  c   d  d   c   d   c",
  "half-open": "           c  c  c   c  c   c  a   c  a   c  c   c  c   d  d   c   d   a",
  "half-open, probing": "  c  c  c   c  c   c  a   c  a   c  c   c  c   d  d   c   d   u",
  disabled: "              d  d  d   d  d   d  a   d  a   d  c   d  d   d  d   d   d   u",
  "disabled, probe due": " d  d  d   d  d   d  a   d  a   d  c   d  d   d  d   d   d   a",
  "disabled, probing": "   d  d  d   d  d   d  a   d  a   d  c   d  d   d  d   d   d   u",
  "switched off": "        d  d  d   d  d   d  d   d  d   d  d   d  d   d  d   d   d   u",
};
const LETTERS: Record<string, KeyState> = { a: "available", u: "in_use", c: "cooling", d: "disabled" };

describe.each(Object.entries(STANDINGS))("%s", (name, { record, state, may }) => {
  test(`is ${state}, and may call: ${may}`, () => {
    expect(stateOf(record, NOW)).toBe(state);
    expect(mayCall(record, NOW).kind).toBe(may);
  });

  const letters = (TABLE[name] ?? "").trim().split(/\s+/);
  test.each(Object.entries(EVENTS).map(([event, value], i) => [event, LETTERS[letters[i] ?? ""], value] as const))(
    "after %s: %s",
    (_, expected, event) => {
      const before = structuredClone(record);
      const after = afterEvent(record, event, NOW, EVEN);
      expect(stateOf(after, NOW)).toBe(expected);
      expect(record).toEqual(before);
    },
  );
});

test("every state and every event is in the table", () => {
  expect(new Set(Object.values(STANDINGS).map(({ state }) => state))).toEqual(new Set(KEY_STATES));
  for (const row of Object.values(TABLE)) expect(row.trim().split(/\s+/)).toHaveLength(Object.keys(EVENTS).length);
});

const following = (record: KeyRecord, ...events: KeyEvent[]) =>
  events.reduce((now, event) => afterEvent(now, event, NOW, EVEN), record);
const failure: KeyEvent = { kind: "failed", probe: false, coolMs: 1_000 };

describe("the breaker", () => {
  test("opens at the fifth failure in a row, not at five among successes", () => {
    expect(following(FRESH, failure, failure, failure, failure).open).toBe(false);
    expect(following(FRESH, failure, failure, failure, failure, failure).open).toBe(true);
    const success: KeyEvent = { kind: "succeeded", probe: false };
    expect(following(FRESH, failure, failure, failure, failure, success, failure)).toMatchObject({
      open: false,
      failures: 1,
    });
  });

  test("lets one probe through when it has rested; its success closes it, its failure doubles the rest", () => {
    const open = following(FRESH, failure, failure, failure, failure, failure);
    expect(mayCall(open, NOW + 999)).toEqual({ kind: "no", atMs: NOW + 1_000 });
    expect(mayCall(open, NOW + 1_000)).toEqual({ kind: "probe" });
    let record = open;
    let atMs = NOW + 1_000;
    for (const restMs of [20_000, 40_000, 80_000, 120_000, 120_000]) {
      record = afterEvent(record, { kind: "taken", endsByMs: atMs + 9_000 }, atMs, EVEN);
      expect(mayCall(record, atMs)).toEqual({ kind: "no", atMs: atMs + 9_000 });
      record = afterEvent(record, { kind: "failed", probe: true, coolMs: 10_000 }, atMs, EVEN);
      expect(record.coolUntilMs - atMs).toBe(restMs);
      atMs = record.coolUntilMs;
    }
    record = afterEvent(record, { kind: "taken", endsByMs: atMs + 9_000 }, atMs, EVEN);
    record = afterEvent(record, { kind: "succeeded", probe: true }, atMs, EVEN);
    expect(record).toEqual({ ...FRESH, coolUntilMs: record.coolUntilMs });
    expect(stateOf(record, atMs)).toBe("available");
  });

  test("a probe whose worker died is tried again when its time is over", () => {
    const probing = afterEvent({ ...FRESH, open: true }, { kind: "taken", endsByMs: NOW + 9_000 }, NOW, EVEN);
    expect(mayCall(probing, NOW + 8_999).kind).toBe("no");
    expect(mayCall(probing, NOW + 9_000).kind).toBe("probe");
  });
});

describe("what is disabled", () => {
  const refusal: KeyEvent = { kind: "refused", probe: true, firstMs: MINUTE, untilMs: null };

  test("is probed after 1, 2, 4 … minutes, an hour at most, and comes back by itself", () => {
    let record = following({ ...FRESH, inFlight: 1 }, { ...refusal, probe: false });
    let atMs = NOW;
    const waits: number[] = [];
    for (let i = 0; i < 8; i += 1) {
      waits.push((record.probeAtMs - atMs) / MINUTE);
      expect(mayCall(record, record.probeAtMs - 1).kind).toBe("no");
      atMs = record.probeAtMs;
      expect(mayCall(record, atMs)).toEqual({ kind: "probe" });
      record = afterEvent(record, { kind: "taken", endsByMs: atMs + 9_000 }, atMs, EVEN);
      if (i < 7) record = afterEvent(record, refusal, atMs, EVEN);
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
    expect(afterEvent(record, { kind: "succeeded", probe: true }, atMs, EVEN)).toEqual(FRESH);
  });

  test("is probed at once, and then as from the beginning, when a worker of it has started", () => {
    const long: KeyRecord = { ...FRESH, off: "refused", strikes: 9, probeAtMs: NOW + 60 * MINUTE };
    const record = following(long, { kind: "worker_started" });
    expect(mayCall(record, NOW).kind).toBe("probe");
    expect(following(record, refusal).probeAtMs).toBe(NOW + 2 * MINUTE);
  });

  test("where its end is known, it is probed then at the latest", () => {
    const probeAt = (untilMs: number) => following(FRESH, { ...refusal, probe: false, untilMs }).probeAtMs - NOW;
    expect(probeAt(NOW + 7 * 3_600_000)).toBe(MINUTE);
    expect(probeAt(NOW + 20_000)).toBe(20_000);
  });

  test("other calls that were under way only confirm it", () => {
    const disabled = following({ ...FRESH, inFlight: 9 }, { ...refusal, probe: false });
    const more = following(disabled, { ...refusal, probe: false }, { ...refusal, probe: false });
    expect(more).toEqual({ ...disabled, inFlight: 6 });
  });

  test("a probe that meets a server's error says nothing of the key", () => {
    const probing = { ...FRESH, inFlight: 1, off: "refused" as const, strikes: 3, probeAtMs: NOW };
    const record = following(probing, { kind: "failed", probe: true, coolMs: 5_000 });
    expect(record).toMatchObject({ off: "refused", strikes: 3 });
    expect(mayCall(record, NOW)).toEqual({ kind: "no", atMs: NOW + 5_000 });
    expect(mayCall(record, NOW + 5_000).kind).toBe("probe");
  });

  test("a probe that was called and says nothing is followed by the next one 3 s later; one that was not, at once", () => {
    const probing = { ...FRESH, inFlight: 1, off: "refused" as const, strikes: 3, probeAtMs: NOW };
    const broken = { ...FRESH, inFlight: 1, open: true, failures: 5, strikes: 1 };
    for (const record of [probing, broken]) {
      const later = following(record, { kind: "returned", probe: true, called: true });
      expect(mayCall(later, NOW)).toEqual({ kind: "no", atMs: NOW + 3_000 });
      expect(later).toMatchObject({ strikes: record.strikes, failures: record.failures });
      expect(mayCall(following(record, { kind: "returned", probe: true, called: false }), NOW).kind).toBe("probe");
    }
  });

  test("only a person undoes what a person did", () => {
    const off = following(FRESH, { kind: "switched_off" });
    expect(mayCall(off, NOW)).toEqual({ kind: "no", atMs: null });
    const all = Object.values(EVENTS).filter(({ kind }) => kind !== "switched_on");
    expect(stateOf(following(off, ...all), NOW + 1e9)).toBe("disabled");
    expect(mayCall(following(off, { kind: "switched_on" }), NOW).kind).toBe("yes");
  });

  test("probes vary by a tenth", () => {
    const at = (random: number) => afterEvent(FRESH, { ...refusal, probe: false }, NOW, random).probeAtMs - NOW;
    expect([at(0), at(0.5), at(0.999_999)]).toEqual([54_000, 60_000, 66_000]);
  });
});

describe("in any order of events", () => {
  const anyEvent = fc.oneof(
    fc.record({ kind: fc.constant("taken" as const), endsByMs: fc.constant(0) }),
    fc.record({ kind: fc.constantFrom("succeeded", "innocent"), probe: fc.boolean() }),
    fc.record({ kind: fc.constant("returned"), probe: fc.boolean(), called: fc.boolean() }),
    fc.record({ kind: fc.constantFrom("limited", "failed"), probe: fc.boolean(), coolMs: fc.nat(130_000) }),
    fc.record({
      kind: fc.constant("refused" as const),
      probe: fc.boolean(),
      firstMs: fc.constantFrom(10_000, MINUTE),
      untilMs: fc.constant(null),
    }),
    fc.record({ kind: fc.constantFrom("switched_off", "switched_on") }),
  ) as fc.Arbitrary<KeyEvent>;
  const steps = fc.array(fc.tuple(anyEvent, fc.nat(90_000), fc.double({ min: 0, max: 0.999, noNaN: true })), {
    maxLength: 60,
  });

  test("nothing is shortened, nobody is lost, one probe at a time, and fields keep it all", () => {
    fc.assert(
      fc.property(steps, (all) => {
        let record = FRESH;
        let nowMs = NOW;
        for (const [drawn, gapMs, random] of all) {
          nowMs += gapMs;
          const event = drawn.kind === "taken" ? { ...drawn, endsByMs: nowMs + 9_000 } : drawn;
          const may = mayCall(record, nowMs);
          const next = afterEvent(record, event, nowMs, random);
          expect(next.coolUntilMs).toBeGreaterThanOrEqual(record.coolUntilMs);
          expect(next.inFlight).toBeGreaterThanOrEqual(0);
          if (event.kind === "taken") expect(next.inFlight - record.inFlight).toBe(may.kind === "no" ? 0 : 1);
          if (event.kind === "taken" && may.kind === "probe") expect(mayCall(next, nowMs).kind).toBe("no");
          if (event.kind === "refused" && record.off === "refused")
            expect(next.probeAtMs).toBeGreaterThanOrEqual(Math.min(record.probeAtMs, nowMs));
          // Unless a person says otherwise there is a moment at which it may be asked again, no later than an hour and a tenth.
          const asked = mayCall(next, nowMs);
          if (next.off !== "by_hand" && asked.kind === "no") {
            expect(asked.atMs).toBeGreaterThan(nowMs);
            expect((asked.atMs ?? 0) - nowMs).toBeLessThanOrEqual(1.1 * DEFAULT_KEY_STATE_POLICY.longestProbeMs);
          }
          expect(fieldsToRecord(recordToFields(next, ":key-1"), ":key-1")).toEqual(next);
          record = next;
        }
      }),
    );
  });

  test("whatever happened, a probe that succeeds brings it back", () => {
    fc.assert(
      fc.property(steps, (all) => {
        let record = FRESH;
        let nowMs = NOW;
        for (const [event, gapMs, random] of all) {
          nowMs += gapMs;
          record = afterEvent(record, event, nowMs, random);
        }
        if (record.off === "by_hand") return;
        for (let tries = 0; tries < 3 && mayCall(record, nowMs).kind === "no"; tries += 1) {
          const may = mayCall(record, nowMs);
          if (may.kind === "no") nowMs = may.atMs ?? nowMs;
        }
        const probe = mayCall(record, nowMs).kind === "probe";
        record = afterEvent(record, { kind: "taken", endsByMs: nowMs + 9_000 }, nowMs, 0);
        record = afterEvent(record, { kind: "succeeded", probe }, nowMs + 1, 0);
        expect(mayCall(record, nowMs + 1)).toEqual({ kind: "yes" });
      }),
    );
  });
});
