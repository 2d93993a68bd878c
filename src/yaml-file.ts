/** A YAML file read by a schema, every fault with its line and column. No fault shows a value of the file. */
import { readFileSync } from "node:fs";
import { type Document, isMap, isScalar, LineCounter, parseDocument, visit, type YAMLError } from "yaml";
import type { z } from "zod";

export type YamlReading<T> = { value: T; faults: [] } | { value: null; faults: string[] };
type Path = readonly PropertyKey[];

/** A text as YAML: its plain value, and where each part of it stands. */
export interface YamlText {
  document: Document;
  /** Undefined where the text is no YAML. */
  raw: unknown;
  /** "<path>:<line>:<column>" of what stands at this place, else of the nearest that encloses it. */
  at(place: Path): string;
  /** A fault of what stands there, in one line. */
  fault(place: Path, what: string): string;
  /** What a schema found wrong, below `under`. */
  faultsOf(error: z.ZodError, under?: Path): string[];
  /** The text itself is no YAML. */
  faults: string[];
}

export function parseYamlText(path: string, text: string): YamlText {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const placeOf = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
  };
  const at = (place: Path) => placeOf(offsetOf(document, place));
  const fault = (place: Path, what: string) => `${at(place)}: ${place.map(String).join(".") || "file"}: ${what}`;
  const faults = document.errors.map((error) => `${placeOf(error.pos[0])}: ${inWords(error)}`);
  let raw: unknown;
  visit(document, {
    Alias(_key, alias) {
      if (alias.resolve(document) === undefined) faults.push(`${placeOf(alias.range?.[0] ?? 0)}: ${WORDS.BAD_ALIAS}`);
    },
  });
  try {
    if (faults.length === 0) raw = document.toJS();
  } catch {
    faults.push(`${placeOf(0)}: its aliases (*name) cannot be resolved; write them out`);
  }
  return {
    document,
    raw,
    at,
    fault,
    faultsOf: (error, under = []) =>
      error.issues.flatMap((issue) => {
        const place = [...under, ...issue.path];
        if (issue.code !== "unrecognized_keys") return [fault(place, issue.message)];
        return issue.keys.map((name) => {
          const where = placeOf(keyOffsetOf(document, place, name) ?? offsetOf(document, place));
          return `${where}: ${place.map(String).join(".") || "file"}: there is no field ${fieldName(name)} here`;
        });
      }),
    faults,
  };
}

/** Faults read "<path>:<line>:<column>: <field>: <what is wrong>". */
export function readYamlFile<S extends z.ZodType>(path: string, schema: S): YamlReading<z.infer<S>> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    return { value: null, faults: [`${path}: ${error instanceof Error ? error.message : String(error)}`] };
  }
  const yaml = parseYamlText(path, text);
  if (yaml.faults.length > 0) return { value: null, faults: yaml.faults };
  const parsed = schema.safeParse(yaml.raw);
  return parsed.success ? { value: parsed.data, faults: [] } : { value: null, faults: yaml.faultsOf(parsed.error) };
}

function offsetOf(document: Document, place: Path): number {
  for (let length = place.length; length >= 0; length -= 1) {
    const part = place.slice(0, length);
    const node: unknown = length === 0 ? document.contents : document.getIn(part, true);
    const range = typeof node === "object" && node !== null && "range" in node ? node.range : undefined;
    if (Array.isArray(range)) return Number(range[0]);
  }
  return 0;
}

function keyOffsetOf(document: Document, place: Path, name: string): number | undefined {
  const node: unknown = place.length === 0 ? document.contents : document.getIn(place, true);
  if (!isMap(node)) return undefined;
  const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === name);
  return isScalar(pair?.key) ? pair.key.range?.[0] : undefined;
}

/** Something like a secret may have slipped into the place of a name: only what looks like one of our names is shown. */
const fieldName = (name: string) => (/^[A-Za-z][A-Za-z_]{0,23}$/.test(name) ? `"${name}"` : "of that name");

/** The parser's own messages may quote the text; these do not. */
function inWords({ code, message }: YAMLError): string {
  const quotes = ["TAG_RESOLVE_FAILED", "BAD_ALIAS", "UNEXPECTED_TOKEN", "BAD_DQ_ESCAPE", "BAD_SCALAR_START"];
  if (quotes.includes(code) || code === "BAD_DIRECTIVE") return `${WORDS[code] ?? "is no YAML"} (${code})`;
  return `is no YAML: ${message.split("\n")[0]} (${code})`;
}

const WORDS: Record<string, string> = {
  TAG_RESOLVE_FAILED: "a tag (!name) means nothing here; put texts that begin with ! in quotes",
  BAD_ALIAS: "an alias (*name) has no anchor before it; put texts that begin with * in quotes",
  UNEXPECTED_TOKEN:
    "is no YAML: something stands here that does not belong here; look for a missing quote, comma or bracket",
  BAD_DQ_ESCAPE: "a backslash in double quotes begins an escape; use single quotes",
  BAD_SCALAR_START: "a text cannot begin with this character; put it in quotes",
};
