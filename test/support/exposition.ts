/**
 * A strict reader of Prometheus' text format, after its specification: throws at whatever a scraper or promtool would
 * complain about. It shares no code with what writes it.
 */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface Family {
  name: string;
  help: string;
  type: "counter" | "gauge" | "histogram" | "summary" | "untyped";
  samples: Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/;
const VALUE = /^(?:[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|Inf)|NaN|Nan)$/i;

export function readExposition(text: string): Map<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the text does not end with a line feed");
  const families = new Map<string, Family>();
  let present: Family | undefined;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment) {
      const [, kind, name = "", rest = ""] = comment;
      if (kind === "HELP") {
        if (families.has(name)) throw new Error(`${name} comes twice`);
        if (rest === "") throw new Error(`${name} has no help`);
        present = { name, help: rest, type: "untyped", samples: [] };
        families.set(name, present);
      } else {
        if (present?.name !== name || present.samples.length > 0) throw new Error(`TYPE of ${name} out of place`);
        present.type = rest as Family["type"];
      }
      continue;
    }
    if (!present) throw new Error(`a sample before any family: ${line}`);
    const sample = readSample(line);
    if (!belongs(sample.name, present)) throw new Error(`${sample.name} stands in the family ${present.name}`);
    present.samples.push(sample);
  }
  for (const family of families.values()) check(family);
  return families;
}

function readSample(line: string): Sample {
  const [, name = "", inside = "", value = ""] = /^([^{\s]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
  if (!NAME.test(name)) throw new Error(`no sample: ${line}`);
  if (!VALUE.test(value)) throw new Error(`no value: ${line}`);
  const labels: Record<string, string> = {};
  for (let rest = inside; rest !== ""; ) {
    const [all = "", label = "", text = ""] = LABEL.exec(rest) ?? [];
    if (!label || label in labels) throw new Error(`labels: ${line}`);
    labels[label] = text.replaceAll(/\\(["\\n])/g, (_, c: string) => (c === "n" ? "\n" : c));
    rest = rest.slice(all.length);
  }
  return { name, labels, value: value === "+Inf" ? Number.POSITIVE_INFINITY : Number(value) };
}

const belongs = (name: string, { name: family, type }: Family) =>
  name === family ||
  (type === "histogram" && [`${family}_bucket`, `${family}_sum`, `${family}_count`].includes(name)) ||
  (type === "summary" && [`${family}_sum`, `${family}_count`].includes(name));

function check(family: Family): void {
  const { name, type, samples } = family;
  const seen = new Set<string>();
  for (const { name: of, labels, value } of samples) {
    const series = `${of}${JSON.stringify(Object.entries(labels).toSorted())}`;
    if (seen.has(series)) throw new Error(`${series} comes twice`);
    seen.add(series);
    if (type === "counter" && !(value >= 0)) throw new Error(`counter ${series} is ${value}`);
  }
  if (type === "counter" && !name.endsWith("_total")) throw new Error(`counter ${name} does not end in _total`);
  // A habit of names, which prom-client's own for Node does not keep.
  if (type === "gauge" && name.endsWith("_total") && !name.includes("_nodejs_"))
    throw new Error(`${type} ${name} ends in _total`);
  if (type === "histogram") checkHistogram(family);
}

function checkHistogram({ name, samples }: Family): void {
  const series = Map.groupBy(samples, ({ labels: { le: _, ...labels } }) =>
    JSON.stringify(Object.entries(labels).toSorted()),
  );
  for (const [labels, all] of series) {
    const buckets = all.filter((sample) => sample.name === `${name}_bucket`);
    const ends = buckets.map(({ labels: { le = "" } }) => (le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le)));
    const rises = (values: number[]) => values.every((value, i) => i === 0 || value >= (values[i - 1] ?? 0));
    if (ends.at(-1) !== Number.POSITIVE_INFINITY || !rises(ends)) throw new Error(`${name}${labels}: buckets' ends`);
    if (!rises(buckets.map(({ value }) => value))) throw new Error(`${name}${labels}: buckets fall`);
    const count = all.find((sample) => sample.name === `${name}_count`)?.value;
    if (count !== buckets.at(-1)?.value) throw new Error(`${name}${labels}: count is not the last bucket`);
    if (!all.some((sample) => sample.name === `${name}_sum`)) throw new Error(`${name}${labels}: no sum`);
  }
}
