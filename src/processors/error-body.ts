/**
 * The body of an error as providers write it: OpenAI's { error: { message, type, code } }, Gemini's list of one such,
 * vLLM's without a frame around it, a plain text. Pure; whatever comes, something readable comes out.
 */
import { z } from "zod";

export interface ErrorBody {
  code: string;
  type: string;
  text: string;
  /** What else it says, as JSON text, at most 4,000 characters. */
  details: string;
}

const MAX_DETAILS = 4_000;
const Fields = z.record(z.string(), z.unknown());

/** `body`: what was parsed of it, or undefined; `fallback`: the text for when it says nothing. */
export function readErrorBody(body: unknown, fallback: string): ErrorBody {
  const first = Array.isArray(body) ? body[0] : body;
  const outer = Fields.safeParse(first).data;
  const inner = outer && outer.error !== undefined && outer.message === undefined ? outer.error : first;
  const fields = Fields.safeParse(inner).data;
  if (!fields) return { code: "", type: "", text: textOf(inner) || fallback, details: "" };
  const { message, detail, code, type, status, param: _, ...rest } = fields;
  return {
    code: textOf(code),
    type: textOf(type) || textOf(status),
    text: textOf(message) || textOf(detail) || fallback,
    details: Object.keys(rest).length === 0 ? "" : JSON.stringify(rest).slice(0, MAX_DETAILS).toWellFormed(),
  };
}

/** A text or a number as text; anything else as JSON; nothing: "". */
function textOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : JSON.stringify(value);
}
