/** A YAML file read by a schema, every fault with its line and column. */
import { readFileSync } from "node:fs";
import { LineCounter, parseDocument } from "yaml";
import type { z } from "zod";

export type YamlReading<T> = { value: T; faults: [] } | { value: null; faults: string[] };

/** Faults read "<path>:<line>:<column>: <field>: <what is wrong>"; none shows a value of the file. */
export function readYamlFile<S extends z.ZodType>(path: string, schema: S): YamlReading<z.infer<S>> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    return { value: null, faults: [`${path}: ${error instanceof Error ? error.message : String(error)}`] };
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  if (document.errors.length > 0) {
    return {
      value: null,
      faults: document.errors.map((error) => {
        const place = error.linePos?.[0];
        return `${path}:${place?.line ?? "?"}:${place?.col ?? "?"}: ${error.message.split("\n")[0]}`;
      }),
    };
  }
  const parsed = schema.safeParse(document.toJS());
  if (parsed.success) return { value: parsed.data, faults: [] };
  const faults = parsed.error.issues.map((issue) => {
    const node: unknown = document.getIn(issue.path as (string | number)[], true);
    const range = typeof node === "object" && node !== null && "range" in node ? node.range : undefined;
    const place = Array.isArray(range) ? lines.linePos(Number(range[0])) : { line: 1, col: 1 };
    return `${path}:${place.line}:${place.col}: ${issue.path.join(".") || "file"}: ${issue.message}`;
  });
  return { value: null, faults };
}
