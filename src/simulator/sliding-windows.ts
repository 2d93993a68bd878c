/**
 * Any number of sliding windows over one series of calls, each exact: a call at t fits when fewer than `limit` counted
 * calls lie in (t − windowMs, t]. Not shared with the product's own quota, which it is there to check.
 */
export interface WindowLimit {
  name: string;
  limit: number;
  windowMs: number;
}

/** freeInMs: the earliest at which this window has a place again, if nothing else comes. */
export type Fit = { fits: true } | { fits: false; window: WindowLimit; freeInMs: number };

interface WindowState extends WindowLimit {
  /** Index into the stamps of the first call that is still inside. */
  first: number;
  most: number;
}

export class SlidingWindows {
  /** Moments of the counted calls, ascending. */
  #stamps: number[] = [];
  readonly #windows: WindowState[];

  constructor(limits: readonly WindowLimit[]) {
    this.#windows = limits.map((limit) => ({ ...limit, first: 0, most: 0 }));
  }

  /** Moments must not go back from call to call; of several full windows the one that frees last is named. */
  fit(atMs: number): Fit {
    let worst: Fit = { fits: true };
    for (const window of this.#windows) {
      this.#advance(window, atMs);
      const over = this.#stamps.length - window.first - window.limit;
      if (over < 0) continue;
      const freeInMs = (this.#stamps[window.first + over] ?? atMs) + window.windowMs - atMs;
      if (worst.fits || freeInMs > worst.freeInMs) worst = { fits: false, window, freeInMs };
    }
    return worst;
  }

  /** Takes a place in every window, whether there is one or not. */
  count(atMs: number): void {
    if (this.#windows.length === 0) return;
    this.#stamps.push(atMs);
    for (const window of this.#windows) {
      this.#advance(window, atMs);
      window.most = Math.max(window.most, this.#stamps.length - window.first);
    }
    this.#forget();
  }

  /** Calls inside each window at a moment, and the most that ever were. */
  usage(atMs: number): Record<string, { limit: number; windowMs: number; used: number; most: number }> {
    return Object.fromEntries(
      this.#windows.map((window) => {
        this.#advance(window, atMs);
        const { name, limit, windowMs, most } = window;
        return [name, { limit, windowMs, used: this.#stamps.length - window.first, most }];
      }),
    );
  }

  get longestMs(): number {
    return Math.max(0, ...this.#windows.map(({ windowMs }) => windowMs));
  }

  #advance(window: WindowState, atMs: number): void {
    let stamp = this.#stamps[window.first];
    while (stamp !== undefined && stamp <= atMs - window.windowMs) {
      window.first += 1;
      stamp = this.#stamps[window.first];
    }
  }

  /** Drops what no window looks at any more, in large pieces. */
  #forget(): void {
    const unused = Math.min(...this.#windows.map(({ first }) => first));
    if (unused < 4_096 || unused < this.#stamps.length / 2) return;
    this.#stamps = this.#stamps.slice(unused);
    for (const window of this.#windows) window.first -= unused;
  }
}
