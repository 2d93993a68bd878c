/** One account of the simulated provider: its keys, its windows, its faults, and what it has seen. No I/O. */
import { type Answer, refuseFor } from "./answers.ts";
import { kindOfWindow, type SpokenDialect } from "./dialects/dialect.ts";
import { SPOKEN } from "./dialects/spoken.ts";
import type { Random } from "./latency.ts";
import {
  type AccountConfig,
  type FaultChange,
  Faults,
  type SimulatorConfig,
  type Windows,
} from "./simulator-config.ts";
import { SlidingWindows, type WindowLimit } from "./sliding-windows.ts";

/** What becomes of a call that was let in, drawn when it arrives. */
export type Fate = "answer" | "broken" | "content" | "server" | "hang" | { status: number };

/** counts: the call takes a place in the windows. standing: headers of its answer. */
export type Admission =
  | { kind: "admitted"; counts: true; fate: Fate; latencyMs: number | null; standing?: Record<string, string> }
  | { kind: "refused"; counts: boolean; why: string; answer: Answer };

export interface AccountStats {
  id: string;
  /** Every call with a key of this account; admitted: not refused at the door. */
  calls: number;
  admitted: number;
  ok: number;
  /** Answered with 200 and an unreadable verdict. */
  broken: number;
  /** Ended by the caller before an answer. */
  gaveUp: number;
  /** By cause: a window's name, concurrency, key, arrears, request, content, server, status, atRandom, and those of the fault `refuse`. */
  refused: Record<string, number>;
  inFlight: number;
  mostInFlight: number;
  /** most: the most calls that ever lay inside the window at once. */
  windows: Record<string, { limit: number; windowMs: number; used: number; most: number }>;
}

export class Account {
  readonly id: string;
  readonly dialect: SpokenDialect;
  readonly #config: AccountConfig;
  readonly #rules: SimulatorConfig;
  readonly #windows: SlidingWindows;
  #faults: Faults;
  #faultsAfter: Faults;
  #inFlight = 0;
  readonly #seen = { calls: 0, admitted: 0, ok: 0, broken: 0, gaveUp: 0, mostInFlight: 0 };
  readonly #refused: Record<string, number> = {};

  constructor(config: AccountConfig, rules: SimulatorConfig) {
    this.id = config.id;
    this.dialect = SPOKEN[config.dialect ?? rules.dialect];
    this.#config = config;
    this.#rules = rules;
    this.#windows = new SlidingWindows(limitsOf(config.windows));
    this.#faults = config.faults;
    this.#faultsAfter = config.faults;
  }

  get longestWindowMs(): number {
    return this.#windows.longestMs;
  }

  /** A call of an earlier life of this process; oldest first. */
  restore(atMs: number): void {
    this.#windows.count(atMs);
  }

  /** Decides at the moment of arrival, before the body is read: nothing can come in between. `nowMs`: the same moment, wall clock. */
  admit(secret: string, atMs: number, nowMs: number, random: Random): Admission {
    this.#seen.calls += 1;
    const admission = this.#decide(secret, atMs, nowMs, random);
    if (admission.counts) this.#windows.count(atMs);
    if (admission.kind === "refused") {
      this.refused(admission.why);
      return admission;
    }
    this.#seen.admitted += 1;
    const standing = this.dialect.standing?.({ account: this.id, window: this.#toldWindow(atMs) });
    return { ...admission, ...(standing && { standing }) };
  }

  #toldWindow(atMs: number) {
    const short = Object.values(this.#windows.usage(atMs)).filter(({ windowMs }) => windowMs <= 60_000);
    const told = short.toSorted((a, b) => b.windowMs - a.windowMs)[0];
    return told && { limit: told.limit, remaining: Math.max(0, told.limit - told.used), freeInMs: told.windowMs };
  }

  #decide(secret: string, atMs: number, nowMs: number, random: Random): Admission {
    const faults = this.#faultsForOneCall();
    const { dialect } = this;
    const told = { tellsWait: this.#rules.retryAfter, nowMs };
    const refuse = (why: string, answer: Answer, counts = false): Admission => ({
      kind: "refused",
      counts,
      why,
      answer,
    });
    if (faults.deadKeys.includes(secret)) return refuse("key", dialect.unknownKey());
    if (faults.arrears) return refuse("arrears", dialect.arrears());
    if (faults.refuse !== null) return refuse(faults.refuse, refuseFor(faults.refuse, dialect, told));
    if (faults.rateRefusalRate > 0 && random() < faults.rateRefusalRate)
      return refuse("atRandom", refuseFor("second", dialect, told));
    if (this.#rules.mode === "enforce") {
      const counts = this.#rules.refusedCallsCount;
      const fit = this.#windows.fit(atMs);
      if (!fit.fits) {
        const { window, freeInMs } = fit;
        const full = { kind: kindOfWindow(window), limit: window.limit, freeInMs, ...told };
        return refuse(window.name, dialect.full(full), counts);
      }
      const most = this.#config.windows.maxConcurrent ?? Number.POSITIVE_INFINITY;
      if (this.#inFlight >= most) {
        // When a call ends is anybody's guess, so no wait is told.
        const full = { kind: "concurrency" as const, limit: most, freeInMs: 0, tellsWait: false, nowMs };
        return refuse("concurrency", dialect.full(full), counts);
      }
    }
    return { kind: "admitted", counts: true, fate: drawFate(faults, random), latencyMs: faults.latencyMs };
  }

  /** Between arrival and the end of the answer or of the connection. Call the returned function once. */
  enter(): () => void {
    this.#inFlight += 1;
    this.#seen.mostInFlight = Math.max(this.#seen.mostInFlight, this.#inFlight);
    return () => {
      this.#inFlight -= 1;
    };
  }

  answered(how: "ok" | "broken" | "gaveUp"): void {
    this.#seen[how] += 1;
  }

  refused(why: string): void {
    this.#refused[why] = (this.#refused[why] ?? 0) + 1;
  }

  get faults(): Faults {
    return this.#faults;
  }

  /** Changes what goes wrong from now on; fields that are not named stay. Null: as configured. */
  setFaults(change: FaultChange | null): void {
    const before = this.#faults.calls === null ? this.#faults : this.#faultsAfter;
    this.#faultsAfter = change === null ? this.#config.faults : before;
    this.#faults = change === null ? this.#config.faults : Faults.parse({ ...before, ...change });
  }

  #faultsForOneCall(): Faults {
    const faults = this.#faults;
    if (faults.calls !== null) {
      this.#faults = faults.calls > 1 ? { ...faults, calls: faults.calls - 1 } : this.#faultsAfter;
    }
    return faults;
  }

  stats(atMs: number): AccountStats {
    return {
      id: this.id,
      ...this.#seen,
      refused: { ...this.#refused },
      inFlight: this.#inFlight,
      windows: this.#windows.usage(atMs),
    };
  }
}

function drawFate(faults: Faults, random: Random): Fate {
  if (faults.hang || random() < faults.hangRate) return "hang";
  if (faults.status !== null) return { status: faults.status };
  if (random() < faults.serverErrorRate) return "server";
  if (random() < faults.contentRefusalRate) return "content";
  return random() < faults.brokenJsonRate ? "broken" : "answer";
}

function limitsOf(windows: Windows): WindowLimit[] {
  const named: [string, number | undefined, number][] = [
    ["requestsPerSecond", windows.requestsPerSecond, 1_000],
    ["requestsPerMinute", windows.requestsPerMinute, 60_000],
    ["requestsPerDay", windows.requestsPerDay, 86_400_000],
  ];
  const limits = named.flatMap(([name, limit, windowMs]) => (limit === undefined ? [] : [{ name, limit, windowMs }]));
  return [...limits, ...windows.others.map(({ name, requests, windowMs }) => ({ name, limit: requests, windowMs }))];
}
