/**
 * Changes to a YAML text that a person wrote: the document model says what is meant, and the text is changed only where it
 * must be, so that comments and layout stay. Where such a small change would not mean the same, the model is written out.
 */
import { isDeepStrictEqual } from "node:util";
import {
  type Document,
  isMap,
  isNode,
  isScalar,
  isSeq,
  parseDocument,
  stringify,
  type YAMLMap,
  type YAMLSeq,
} from "yaml";
import type { Place } from "./draft.ts";

export type Change =
  | { kind: "set"; place: Place; field: string; value: unknown }
  | { kind: "unset"; place: Place; field: string }
  | { kind: "remove"; place: Place }
  /** Adds to the list at this place, which is made where there is none. */
  | { kind: "add"; place: Place; item: object };

/**
 * Fields of what stands at this place, merged as RFC 7396 does: an object field by field, anything else whole (lists too), null
 * takes away.
 */
export function mergeYaml(text: string, place: Place, fields: Record<string, unknown>): string {
  return Object.entries(fields).reduce((now, [field, value]) => {
    if (value === undefined) return now;
    if (value === null) return changeYaml(now, { kind: "unset", place, field });
    const document = parseDocument(now);
    const there: unknown = document.getIn([...place, field], true);
    if (isObject(value) && isMap(there)) return mergeYaml(now, [...place, field], value);
    const before: unknown = isNode(there) ? there.toJS(document) : undefined;
    return changeYaml(now, { kind: "set", place, field, value: merged(before, value) });
  }, text);
}

function merged(before: unknown, value: unknown): unknown {
  if (!isObject(value)) return value;
  const result: Record<string, unknown> = isObject(before) ? { ...before } : {};
  for (const [field, one] of Object.entries(value)) {
    if (one === null) delete result[field];
    else result[field] = merged(result[field], one);
  }
  return result;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The text after the change. The text before must be YAML without faults. */
export function changeYaml(text: string, change: Change): string {
  const document = parseDocument(text);
  const candidate = inPlace(text, document, change);
  apply(document, change);
  if (candidate !== undefined) {
    const now = parseDocument(candidate);
    if (now.errors.length === 0 && isDeepStrictEqual(now.toJS(), document.toJS())) return candidate;
  }
  return document.toString({ lineWidth: 0 });
}

function apply(document: Document, change: Change): void {
  switch (change.kind) {
    case "set":
      document.setIn([...change.place, change.field], document.createNode(change.value));
      return;
    case "unset":
      document.deleteIn([...change.place, change.field]);
      return;
    case "remove":
      document.deleteIn(change.place);
      return;
    case "add":
      if (isSeq(document.getIn(change.place, true))) document.addIn(change.place, document.createNode(change.item));
      else document.setIn(change.place, document.createNode([change.item]));
      return;
    default:
      change satisfies never;
  }
}

/** Undefined: not one of the usual layouts. */
function inPlace(text: string, document: Document, change: Change): string | undefined {
  if (change.kind === "set") {
    const map: unknown = document.getIn(change.place, true);
    return isMap(map) ? setField(text, map, change.field, inOneLine(change.value)) : undefined;
  }
  if (change.kind === "unset") return undefined;
  if (change.kind === "add") {
    const list: unknown = document.getIn(change.place, true);
    return isSeq(list) && list.items.length > 0 ? addItem(text, list, change.item) : undefined;
  }
  const index = change.place.at(-1);
  const list: unknown = document.getIn(change.place.slice(0, -1), true);
  return isSeq(list) && typeof index === "number" ? removeItem(text, list, index) : undefined;
}

function setField(text: string, map: YAMLMap, field: string, value: string): string | undefined {
  const pair = map.items.find(({ key }) => isScalar(key) && key.value === field);
  const known = rangeOf(pair?.value);
  if (known) return splice(text, known[0], known[1], value);
  const last = map.items.at(-1);
  const end = rangeOf(last?.value)?.[1];
  const first = rangeOf(map.items[0]?.key)?.[0];
  if (end === undefined || first === undefined) return undefined;
  if (map.flow) return splice(text, end, end, `, ${field}: ${value}`);
  const at = lineEnd(text, end);
  return splice(text, at, at, `\n${" ".repeat(columnOf(text, first))}${field}: ${value}`);
}

function addItem(text: string, list: YAMLSeq, item: object): string | undefined {
  const last = list.items.at(-1);
  const range = rangeOf(last);
  const first = rangeOf(list)?.[0];
  if (!range || first === undefined) return undefined;
  const flow = inOneLine(item);
  if (list.flow) return splice(text, range[1], range[1], `, ${flow}`);
  const column = columnOf(text, first);
  const indent = " ".repeat(column);
  const lines = isMap(last) && last.flow ? `- ${flow}` : stringify([item], { lineWidth: 0 }).trimEnd();
  const at = pastOwnComments(text, lineEnd(text, range[1]), column);
  return splice(text, at, at, `\n${lines.replace(/^/gm, indent)}`);
}

function removeItem(text: string, list: YAMLSeq, index: number): string | undefined {
  const own = rangeOf(list.items[index]);
  const next = rangeOf(list.items[index + 1]);
  const before = rangeOf(list.items[index - 1]);
  const first = rangeOf(list)?.[0];
  if (!own || first === undefined) return undefined;
  if (list.flow) {
    if (next) return splice(text, own[0], next[0], "");
    return before ? splice(text, before[1], own[1], "") : splice(text, own[0], own[1], "");
  }
  if (!next && !before) return undefined;
  const column = columnOf(text, first);
  const from = itemStart(text, own[0], column);
  const to = next ? itemStart(text, next[0], column) : pastOwnComments(text, lineEnd(text, own[1]), column) + 1;
  return from === undefined || to === undefined ? undefined : splice(text, from, to, "");
}

/** Start of the line with the item's dash, or of the comments right above that stand as far in. */
function itemStart(text: string, offset: number, column: number): number | undefined {
  let start = lineStart(text, offset);
  while (text[start + column] !== "-" || text.slice(start, start + column).trim() !== "") {
    if (start === 0) return undefined;
    start = lineStart(text, start - 1);
  }
  for (;;) {
    if (start === 0) return start;
    const above = lineStart(text, start - 1);
    const line = text.slice(above, start);
    if (line.search(/\S/) !== column || line[column] !== "#") return start;
    start = above;
  }
}

type Range = readonly [number, number];

/** Where a node begins and ends, without what follows it. */
function rangeOf(node: unknown): Range | undefined {
  const range = typeof node === "object" && node !== null && "range" in node ? node.range : undefined;
  return Array.isArray(range) ? [Number(range[0]), Number(range[1])] : undefined;
}

/** Comments right below that stand further in than the list's dash are the last item's. */
function pastOwnComments(text: string, end: number, column: number): number {
  const below = text.slice(end + 1, lineEnd(text, end + 1));
  const further = below.search(/\S/) > column && below.trimStart().startsWith("#");
  return text[end] === "\n" && further ? pastOwnComments(text, end + 1 + below.length, column) : end;
}

const inOneLine = (value: unknown) => stringify(value, { collectionStyle: "flow", lineWidth: 0 }).trim();
const lineStart = (text: string, offset: number) => text.lastIndexOf("\n", offset - 1) + 1;
const columnOf = (text: string, offset: number) => offset - lineStart(text, offset);
/** End of the line that this offset ends in; an offset right after a line break is that line's. */
function lineEnd(text: string, offset: number): number {
  const inside = text[offset - 1] === "\n" ? offset - 1 : offset;
  const end = text.indexOf("\n", inside);
  return end < 0 ? text.length : end;
}
const splice = (text: string, from: number, to: number, what: string) => text.slice(0, from) + what + text.slice(to);
