/** A message of a topic as people and programs are shown it, whatever its bytes are. Pure; never throws. */
import type { TopicMessage } from "../topics/topic-log.ts";
import { showBytes, showTime } from "./quantities.ts";

/** A longer text of a JSON value is shown by its beginning: inline images fill screens. */
const SHOWN_TEXT = 200;
/** Of what is no JSON, so many bytes. */
const SHOWN_BYTES = 400;
/** Deeper JSON is shown by its beginning: walking it would need as much stack. */
const DEEPEST = 100;

type Value = { kind: "json"; json: unknown } | { kind: "text"; text: string } | { kind: "bytes"; bytes: Buffer };

function contentOf(value: Buffer): Value {
  const text = value.toString("utf8");
  if (!Buffer.from(text, "utf8").equals(value)) return { kind: "bytes", bytes: value };
  try {
    return { kind: "json", json: JSON.parse(text) };
  } catch {
    return { kind: "text", text };
  }
}

/** For programs: one line of JSON. `value` where it is JSON, else `text`, else `base64`. */
export function messageToJson({ topic, shard, position, key, value, headers, appendedAtMs }: TopicMessage): string {
  const content = contentOf(value);
  const shown = {
    ...{ topic, shard, position, appendedAt: showTime(appendedAtMs), key, headers },
    ...(content.kind === "text" && { text: content.text }),
    ...(content.kind === "bytes" && { base64: content.bytes.toString("base64") }),
  };
  try {
    return JSON.stringify(content.kind === "json" ? { ...shown, value: content.json } : shown);
  } catch {
    return JSON.stringify({ ...shown, base64: value.toString("base64") }); // deeper than it can be written
  }
}

/** For people: a line that says where it lies, then the value. `whole`: nothing is shortened. */
export function messageToText(message: TopicMessage, { whole = false } = {}): string {
  const { topic, shard, position, key, headers, appendedAtMs, value } = message;
  const head = `${showTime(appendedAtMs)}  ${topic} ${shard}/${position}  key ${JSON.stringify(key)}  ${showBytes(value.length)}`;
  const lines = Object.entries(headers).map(([name, text]) => `  ${inOneLine(name, 200)}: ${inOneLine(text, 2_000)}`);
  return [head, ...lines, valueToText(value, whole)].map(harmless).join("\n");
}

/** In one line, for a table. */
export const inOneLine = (text: string, most = 80) =>
  harmless(text.length > most ? `${text.slice(0, most)}…` : text).replaceAll("\n", " ");

function valueToText(value: Buffer, whole: boolean): string {
  const content = contentOf(value);
  switch (content.kind) {
    case "json":
      try {
        return JSON.stringify(whole ? content.json : shortened(content.json, 0), null, 2);
      } catch {
        return valueToText(value.subarray(0, SHOWN_BYTES), true); // deeper than it can be written
      }
    case "text":
      if (value.length === 0) return "(no bytes)";
      return whole ? content.text : cut(content.text, SHOWN_BYTES);
    case "bytes": {
      const shown = whole ? content.bytes : content.bytes.subarray(0, SHOWN_BYTES);
      const more = content.bytes.length - shown.length;
      return `(no UTF-8) ${shown.toString("hex")}${more > 0 ? `… (${more} more bytes)` : ""}`;
    }
    default:
      return content satisfies never;
  }
}

function shortened(json: unknown, depth: number): unknown {
  if (typeof json === "string") return cut(json, SHOWN_TEXT);
  if (typeof json !== "object" || json === null) return json;
  if (depth === DEEPEST) return "…";
  if (Array.isArray(json)) return json.map((each) => shortened(each, depth + 1));
  return Object.fromEntries(Object.entries(json).map(([name, each]) => [name, shortened(each, depth + 1)]));
}

const cut = (text: string, most: number) =>
  text.length > most ? `${text.slice(0, most)}… (${text.length - most} more characters)` : text;

/** Without what could move a terminal's cursor, colour it, or turn the direction of writing. */
const harmless = (text: string) =>
  text.replaceAll(/[^\P{Cc}\n]|[\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, (c) => {
    return `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
