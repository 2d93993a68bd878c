/**
 * The calls that count, kept in files so that a restart (kill -9 too) gives nobody a fresh quota. One line a call,
 * `<wall clock ms> <account>`, written before the call is answered; the system's own page cache makes that a few µs.
 * Segments are never rewritten: a new one begins when the present one is as long as the longest window, and segments
 * older than that are deleted.
 */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Context } from "../context.ts";

const SEGMENT = /^provider-calls\.(\d{13,})\.log$/;

export class CallLog {
  readonly #folder: string;
  readonly #longestMs: number;
  readonly #context: Context;
  #file: number | undefined;
  #sinceMs = 0;
  #broken = false;

  /** `longestMs`: the longest window of any account. */
  constructor(folder: string, longestMs: number, context: Context) {
    this.#folder = folder;
    this.#longestMs = Math.max(60_000, longestMs);
    this.#context = context;
  }

  /** What still matters, oldest first, as (account, age in ms), and a new segment for what comes. */
  open(): { account: string; ageMs: number }[] {
    mkdirSync(this.#folder, { recursive: true });
    const nowMs = this.#context.clock.nowMs();
    const calls = this.#segments()
      .flatMap((name) => readFileSync(join(this.#folder, name), "utf8").split("\n").slice(0, -1))
      .map((line) => {
        const [stamp = "", account = ""] = line.split(" ");
        // A clock that was set back in between must not make a call younger than new.
        return { account, ageMs: Math.max(0, nowMs - Number(stamp)) };
      })
      .filter(({ ageMs }) => ageMs < this.#longestMs)
      .sort((a, b) => b.ageMs - a.ageMs);
    this.#begin(nowMs);
    return calls;
  }

  append(account: string): void {
    const nowMs = this.#context.clock.nowMs();
    try {
      if (nowMs - this.#sinceMs > this.#longestMs) this.#begin(nowMs);
      if (this.#file !== undefined) writeSync(this.#file, `${nowMs.toFixed(3)} ${account}\n`);
    } catch (error) {
      if (!this.#broken) this.#context.log.warn({ err: error }, "the windows will not outlive a restart");
      this.#broken = true;
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #segments(): string[] {
    return readdirSync(this.#folder)
      .filter((name) => SEGMENT.test(name))
      .sort();
  }

  /** Opens a segment; deletes those whose successor is itself older than every window. */
  #begin(nowMs: number): void {
    this.close();
    const name = `provider-calls.${String(Math.floor(nowMs)).padStart(13, "0")}.log`;
    this.#file = openSync(join(this.#folder, name), "a", 0o600);
    this.#sinceMs = nowMs;
    const names = this.#segments();
    for (const [i, old] of names.entries()) {
      const successor = Number(SEGMENT.exec(names[i + 1] ?? "")?.[1] ?? Number.POSITIVE_INFINITY);
      if (nowMs - successor > this.#longestMs) rmSync(join(this.#folder, old), { force: true });
    }
  }
}
