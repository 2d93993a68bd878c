/**
 * Metrics that are kept in the store and not in this process: read anew at each scrape, so that counters go on where they
 * were when a gateway starts again, and every gateway tells the same.
 */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

export type Labels = Record<string, string>;
/** Tells one value; of a counter several of equal labels add up. */
export type Tell = (labels: Labels, value: number) => void;

export interface Told {
  name: string;
  help: string;
  labels?: readonly string[];
}

export interface StoreMetrics {
  gauge(told: Told, fill: (tell: Tell) => void): void;
  counter(told: Told, fill: (tell: Tell) => void): void;
  /** `ends`: upper ends of its buckets. `fill` tells, for some labels, how many fell into each (one more for the rest), and their sum. */
  histogram(told: Told & { ends: readonly number[] }, fill: () => Iterable<Observed>): void;
}

export interface Observed {
  labels: Labels;
  /** Not cumulative; may be empty: none. */
  counts: readonly number[];
  sum: number;
}

export function storeMetrics(registry: Registry): StoreMetrics {
  const registers = [registry];
  return {
    gauge({ name, help, labels = [] }, fill) {
      new Gauge({
        ...{ name, help, labelNames: labels, registers },
        collect() {
          if (labels.length === 0) {
            this.remove(); // nothing told is nothing known, and not nought
            fill((_none, value) => this.set(value));
            return;
          }
          this.reset();
          fill((of, value) => this.set(of, value));
        },
      });
    },
    counter({ name, help, labels = [] }, fill) {
      new Counter({
        ...{ name, help, labelNames: labels, registers },
        collect() {
          this.reset();
          fill((of, value) => this.inc(of, value));
        },
      });
    },
    histogram({ name, help, labels = [], ends }, fill) {
      new StoredHistogram({ name, help, labelNames: labels, buckets: [...ends], registers }, () =>
        [...fill()].flatMap((observed) => linesOf(name, ends, observed)),
      );
    },
  };
}

type Lines = Awaited<ReturnType<Histogram["get"]>>["values"];

/** prom-client's histogram observes one value at a time; this one is told its buckets. */
class StoredHistogram extends Histogram {
  readonly #described: Histogram;
  readonly #lines: () => Lines;

  constructor(configuration: ConstructorParameters<typeof Histogram>[0], lines: () => Lines) {
    super(configuration);
    this.#described = new Histogram({ ...configuration, registers: [] });
    this.#lines = lines;
  }

  override async get(): ReturnType<Histogram["get"]> {
    return { ...(await this.#described.get()), values: this.#lines() };
  }

  /** What a registry asks for instead, where it is there. */
  async getForPromString() {
    return await this.get();
  }
}

function linesOf(name: string, ends: readonly number[], { labels, counts, sum }: Observed): Lines {
  let soFar = 0;
  const buckets = [...ends, "+Inf"].map((le, i) => {
    soFar += counts[i] ?? 0;
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: soFar };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: soFar },
  ];
}
