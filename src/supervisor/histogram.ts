/**
 * Percentiles of any number of values in bounded memory: counts in buckets that grow by 1% (the idea of HdrHistogram and
 * DDSketch), so that a percentile is right to within 1%. Values are milliseconds; below 1 µs counts as 0.
 */
const GROWTH = 1.01;
const LOG_GROWTH = Math.log(GROWTH);
const LEAST = 0.001;

export interface Percentiles {
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

export class Histogram {
  #counts = new Map<number, number>();
  count = 0;

  add(valueMs: number): void {
    if (!Number.isFinite(valueMs)) return;
    const bucket = valueMs < LEAST ? -1 : Math.floor(Math.log(valueMs / LEAST) / LOG_GROWTH);
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + 1);
    this.count += 1;
  }

  /** The value that a share `q` (0 to 1) of all values does not exceed; null without any. */
  quantile(q: number): number | null {
    let left = Math.max(1, Math.ceil(q * this.count));
    for (const [bucket, count] of [...this.#counts].sort(([a], [b]) => a - b)) {
      left -= count;
      if (left <= 0) return bucket < 0 ? 0 : LEAST * GROWTH ** (bucket + 0.5);
    }
    return null;
  }

  percentiles(): Percentiles {
    const round = (value: number | null) => (value === null ? null : Math.round(value * 10) / 10);
    return { p50: round(this.quantile(0.5)), p95: round(this.quantile(0.95)), p99: round(this.quantile(0.99)) };
  }
}
