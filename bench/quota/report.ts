/** Figures against their aims: one line of JSON on stdout, a table for people on stderr. */
import { loadavg } from "node:os";

export interface Figure {
  /** The variant, and what was measured of it. */
  row: string;
  what: string;
  /** One a round. */
  values: number[];
  /** What its median is to keep to; without one it is only told. */
  aim?: { atLeast: number } | { atMost: number };
  /** Why there is no value; an aim counts as missed then. */
  missing?: string;
}

/** Prints the figures; the process ends with 1 when an aim is missed. `more`: what else belongs into the line. */
export function report(bench: string, figures: readonly Figure[], more: object = {}): void {
  const rows = figures.map(judged);
  const holds = rows.every((row) => row.holds !== false);
  const cells = [
    ["", "", "median", "least", "most", "aim", ""],
    ...rows.map((r) =>
      r.missing
        ? [r.row, r.what, "–", "–", "–", r.aim, r.missing]
        : [r.row, r.what, shown(r.median), shown(r.least), shown(r.most), r.aim, r.holds === false ? "MISSED" : ""],
    ),
  ];
  const widths = cells[0]?.map((_, i) => Math.max(...cells.map((line) => line[i]?.length ?? 0))) ?? [];
  const pad = (text: string, i: number) =>
    i < 2 || i > 4 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0);
  console.error(`\n${cells.map((line) => line.map(pad).join("  ").trimEnd()).join("\n")}\n`);
  // The load of the whole machine: more than what the bench itself asks for, and the figures are rough.
  console.log(
    JSON.stringify({ bench, ...more, loadAverage: rounded(loadavg()[0] ?? Number.NaN), figures: rows, holds }),
  );
  process.exitCode = holds ? 0 : 1;
}

interface Row {
  row: string;
  what: string;
  missing?: string;
  median?: number;
  least?: number;
  most?: number;
  aim: string;
  /** Absent: it has no aim, or no value. */
  holds?: boolean;
}

function judged({ row, what, values, aim, missing }: Figure): Row {
  const sorted = values.toSorted((a, b) => a - b);
  const median = quantile(sorted, 0.5);
  const wanted = aim === undefined ? "" : "atLeast" in aim ? `>= ${aim.atLeast}` : `<= ${aim.atMost}`;
  const kept = aim === undefined ? undefined : "atLeast" in aim ? median >= aim.atLeast : median <= aim.atMost;
  return {
    row,
    what,
    ...(missing ? { missing } : { median: rounded(median), least: rounded(sorted[0]), most: rounded(sorted.at(-1)) }),
    aim: wanted,
    ...(kept !== undefined && { holds: kept && missing === undefined }),
  };
}

/** Of ascending values, between neighbours in proportion; NaN: there are none. */
export function quantile(ascending: readonly number[], share: number): number {
  const at = (ascending.length - 1) * share;
  const [below, above] = [ascending[Math.floor(at)], ascending[Math.ceil(at)]];
  return below === undefined || above === undefined ? Number.NaN : below + (above - below) * (at - Math.floor(at));
}

export const p95 = (values: readonly number[]) =>
  quantile(
    values.toSorted((a, b) => a - b),
    0.95,
  );

const rounded = (value = Number.NaN) => Number(value.toPrecision(5));
const shown = (value = Number.NaN) => String(value);
