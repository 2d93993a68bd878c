/**
 * The calls that this process made for its leases within the last seconds before the store's newest answer, and the verdicts
 * that came of them, so that a store that came back without its newest writes can be told of them. (It died after that
 * answer, so however long it stays away, what it may have forgotten is still here.)
 */

interface SpentCall {
  keyGroup: string;
  taskId: string;
  epoch: number;
  /** As `spend` answered: the stamp, on the store's clock. */
  stamp: string;
  /** Monotonic, ms. */
  spentMs: number;
  /** How much later than stamped the request left, ms. */
  laterMs: number;
  /** No longer in flight by then, monotonic ms. */
  endsMs: number;
  /** The arguments of settle.lua that told its verdict, where it had one. */
  verdict: readonly (string | number)[] | null;
}

/** An `appendfsync everysec` forgets up to 2 s. */
const KEPT_MS = 5_000;
const MOST = 20_000;

type Lease = { taskId: string; epoch: number };
const nameOf = ({ taskId, epoch }: Lease) => `${taskId}#${epoch}`;

export class SpentLately {
  /** In the order of their spending. Spent anew before its call (a slow answer): the later one alone. */
  readonly #calls = new Map<string, SpentCall>();
  #newestMs = Number.NEGATIVE_INFINITY;

  /** Granted: called from now on, for `timeoutMs` at most. */
  spent(lease: Lease & { keyGroup: string }, stamp: string, timeoutMs: number, nowMs: number): void {
    const { keyGroup, taskId, epoch } = lease;
    const name = nameOf(lease);
    this.#calls.delete(name);
    const times = { spentMs: nowMs, laterMs: 0, endsMs: nowMs + timeoutMs };
    this.#calls.set(name, { keyGroup, taskId, epoch, stamp, ...times, verdict: null });
    this.#newestMs = nowMs;
    for (const [oldest, { endsMs }] of this.#calls) {
      if (endsMs >= nowMs - KEPT_MS && this.#calls.size <= MOST) break;
      this.#calls.delete(oldest);
    }
  }

  /** Its request leaves only now. */
  sent(lease: Lease, nowMs: number): void {
    const call = this.#calls.get(nameOf(lease));
    if (call) call.laterMs = nowMs - call.spentMs;
  }

  ended(lease: Lease, verdict: readonly (string | number)[] | null, nowMs: number): void {
    const call = this.#calls.get(nameOf(lease));
    if (!call) return;
    call.endsMs = Math.min(call.endsMs, nowMs);
    call.verdict = verdict;
  }

  /** Of the verdicts that the store may have forgotten: each one's task, and the arguments of settle.lua. */
  verdicts(): { taskId: string; settle: readonly (string | number)[] }[] {
    return [...this.#calls.values()].flatMap(({ taskId, verdict }) => (verdict ? [{ taskId, settle: verdict }] : []));
  }

  /** The arguments of put-back.lua for the calls that the store may have forgotten. */
  toArguments(nowMs: number): (string | number)[] {
    const lately = [...this.#calls.values()].filter(({ spentMs }) => spentMs >= this.#newestMs - KEPT_MS);
    return lately.flatMap(({ keyGroup, taskId, epoch, stamp, spentMs, laterMs, endsMs }) => {
      const inFlightMs = endsMs > nowMs ? endsMs - spentMs : 0;
      return [keyGroup, taskId, epoch, stamp, laterMs.toFixed(3), inFlightMs.toFixed(3)];
    });
  }
}
