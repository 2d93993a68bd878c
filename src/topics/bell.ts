/** Lets one part of a process wait until another one has news for it. */
import type { Clock } from "../context.ts";

export class Bell {
  #waiting: (() => void)[] = [];

  /** Ends every wait that has begun. */
  ring(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each();
  }

  /** Resolves at the next ring, or after `ms` (undefined: only at a ring). Never rejects. */
  async wait(clock: Clock, ms?: number): Promise<void> {
    const rung = new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (ms === undefined) return rung;
    const timer = new AbortController();
    await Promise.race([rung, clock.sleep(ms, timer.signal).catch(() => {})]);
    timer.abort();
  }
}
