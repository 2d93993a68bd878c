/** Lets one part of a process wait until another one has news for it. For one waiter at a time. */
import type { Clock } from "../context.ts";

export class Bell {
  #rung = false;
  #waiting: (() => void) | undefined;

  /** Ends the wait that has begun, or else the next one at once: no ring is missed. */
  ring(): void {
    this.#rung = true;
    this.#waiting?.();
  }

  /** Resolves at a ring since the last wait, or after `ms` (undefined: only at a ring). Never rejects. */
  async wait(clock: Clock, ms?: number): Promise<void> {
    if (!this.#rung) {
      const rung = new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
      const timer = new AbortController();
      const due = ms === undefined ? [] : [clock.sleep(ms, timer.signal).catch(() => {})];
      await Promise.race([rung, ...due]);
      timer.abort();
      this.#waiting = undefined;
    }
    this.#rung = false;
  }
}
