/**
 * From the text that a model answered to a verdict. Models wrap JSON in prose and fences, spell levels in their own way
 * and answer in one of two shapes, flat or nested; all of that is read. What cannot be read is "unreadable", never "none".
 */
import { z } from "zod";
import type { Assessment, AssessmentTask, RiskLevel } from "../messages.ts";

/** unreadable: `why` is for the re-ask and for people; it holds nothing of the answer but a short excerpt. */
export type ReadVerdict = { kind: "verdict"; assessment: Assessment } | { kind: "unreadable"; why: string };

/** What parseVerdict needs to know of the task: which of several entries is meant, and which ids exist. */
export type VerdictSubject = Pick<AssessmentTask, "groupIndex" | "memberIndices">;

const MAX_TEXT = 100_000;
const MAX_DESCRIPTION = 2_000;

/** One group's verdict as models write it. Everything but the level may be absent. */
const FlatAnswer = z.looseObject({
  groupIndex: z.unknown().optional(),
  riskLevel: z.unknown().optional(),
  confidence: z.unknown().optional(),
  riskTypes: z.unknown().optional(),
  description: z.unknown().optional(),
  dangerObjectCount: z.unknown().optional(),
  triggerObjectIds: z.unknown().optional(),
});
type FlatAnswer = z.infer<typeof FlatAnswer>;

/** The older shape: a verdict over all groups, then one entry a group. */
const NestedAnswer = z.looseObject({
  maxRiskLevel: z.unknown().optional(),
  results: z.array(FlatAnswer).max(1_000),
});

/** Never throws, whatever the text. */
export function parseVerdict(text: string, subject: VerdictSubject): ReadVerdict {
  if (typeof text !== "string" || text.trim() === "") return { kind: "unreadable", why: "the answer is empty" };
  let why = `there is no JSON object in it (it begins ${JSON.stringify(text.trim().slice(0, 40).toWellFormed())})`;
  const said = text.slice(text.lastIndexOf("</think>") + 1, text.length).slice(0, MAX_TEXT);
  for (const candidate of jsonObjectsIn(said)) {
    const read = readAnswer(candidate, subject);
    if (read.kind === "verdict") return read;
    why = read.why;
  }
  return { kind: "unreadable", why };
}

function readAnswer(value: unknown, subject: VerdictSubject): ReadVerdict {
  const nested = NestedAnswer.safeParse(value);
  if (nested.success) {
    const entry = entryFor(subject.groupIndex, nested.data.results);
    return readFlat({ ...(entry ?? {}), riskLevel: entry?.riskLevel ?? nested.data.maxRiskLevel }, subject);
  }
  const flat = FlatAnswer.safeParse(Array.isArray(value) && value.length === 1 ? value[0] : value);
  return flat.success ? readFlat(flat.data, subject) : { kind: "unreadable", why: "the JSON is no object" };
}

/** The entry of this group; an only entry is meant whatever its index (a call shows one group); else the riskiest. */
function entryFor(groupIndex: number, entries: readonly FlatAnswer[]): FlatAnswer | undefined {
  const own = entries.find((entry) => Number(entry.groupIndex) === groupIndex);
  if (own || entries.length < 2) return own ?? entries[0];
  const rank = (entry: FlatAnswer) => LEVEL_ORDER.indexOf(levelOf(entry.riskLevel) ?? "none");
  return entries.reduce((worst, entry) => (rank(entry) > rank(worst) ? entry : worst));
}

function readFlat(answer: FlatAnswer, { memberIndices }: VerdictSubject): ReadVerdict {
  const riskLevel = levelOf(answer.riskLevel);
  if (riskLevel === undefined) {
    const said = JSON.stringify(answer.riskLevel)?.slice(0, 40).toWellFormed();
    return { kind: "unreadable", why: said ? `riskLevel ${said} is none of the four levels` : "riskLevel is missing" };
  }
  const members = new Set(memberIndices);
  const triggerObjectIds = integersOf(answer.triggerObjectIds).filter((id) => members.has(id));
  return {
    kind: "verdict",
    assessment: {
      riskLevel,
      confidence: confidenceOf(answer.confidence),
      riskTypes: textsOf(answer.riskTypes),
      description: textOf(answer.description).slice(0, MAX_DESCRIPTION).toWellFormed(),
      dangerObjectCount: integersOf([answer.dangerObjectCount]).map((n) => Math.max(0, n))[0] ?? null,
      triggerObjectIds: [...new Set(triggerObjectIds)],
    },
  };
}

const LEVEL_ORDER: readonly RiskLevel[] = ["none", "low", "medium", "high"];

/** What models say for the four levels, lower case, without "risk" and punctuation. */
const LEVEL_WORDS: Record<RiskLevel, readonly string[]> = {
  none: ["none", "no", "safe", "zero", "negligible", "normal", "无", "无风险", "安全", "正常"],
  low: ["low", "minor", "slight", "very low", "low to none", "低", "低风险", "较低"],
  medium: ["medium", "moderate", "mid", "middle", "low to medium", "中", "中等", "中风险", "中等风险"],
  high: [
    "high",
    "very high",
    "severe",
    "critical",
    "extreme",
    "serious",
    "medium to high",
    "高",
    "高风险",
    "极高",
    "严重",
  ],
};
const LEVELS = new Map(
  LEVEL_ORDER.flatMap((level) => LEVEL_WORDS[level].map((word): [string, RiskLevel] => [word, level])),
);

function levelOf(value: unknown): RiskLevel | undefined {
  if (typeof value !== "string") return undefined;
  const words = value
    .normalize("NFKC")
    .toLowerCase()
    .replaceAll(/\b(risk|level|danger)\b/g, " ")
    .replaceAll(/[^\p{L}\p{N}]+/gu, " ")
    .trim();
  return LEVELS.get(words);
}

const CONFIDENCE_WORDS: Record<string, number> = {
  "very high": 0.95,
  high: 0.85,
  medium: 0.6,
  moderate: 0.6,
  low: 0.3,
};

/** 0 to 1, from numbers, "0.9", "92%", 92 and words; 0 when nothing usable was said. */
function confidenceOf(value: unknown): number {
  if (typeof value === "string") {
    const word = CONFIDENCE_WORDS[value.trim().toLowerCase()];
    if (word !== undefined) return word;
    const percent = value.trim().endsWith("%");
    return confidenceOf(Number.parseFloat(value) / (percent ? 100 : 1));
  }
  if (typeof value !== "number" || !(value > 0)) return 0;
  return value <= 1 ? value : value > 1.5 && value <= 100 ? value / 100 : 1;
}

const textOf = (value: unknown): string =>
  typeof value === "string"
    ? value.trim()
    : Array.isArray(value)
      ? value.filter((v) => typeof v === "string").join(" ")
      : "";

/** A list of texts, or one text with commas; empty ones and "none" left out. */
function textsOf(value: unknown): string[] {
  const raw = typeof value === "string" ? value.split(/[,;、，；]/) : Array.isArray(value) ? value : [];
  const texts = raw
    .filter((v): v is string => typeof v === "string")
    .map((v) => v.trim().slice(0, 100).toWellFormed())
    .filter((v) => v !== "" && !/^(none|无|n\/a)$/i.test(v));
  return [...new Set(texts)].slice(0, 20);
}

function integersOf(value: unknown): number[] {
  return (Array.isArray(value) ? value.slice(0, 1_000) : [])
    .map((v) => (typeof v === "string" && v.trim() !== "" ? Number(v) : v))
    .filter((v): v is number => typeof v === "number" && Number.isSafeInteger(Math.trunc(v)))
    .map((v) => Math.trunc(v) + 0);
}

/**
 * Every JSON value worth a look, the likeliest first: the whole text, then each balanced {…} that parses, in order.
 * At most 20 starts are tried, so that a hostile text costs no more than a few passes.
 */
function* jsonObjectsIn(text: string): Generator<unknown> {
  const whole = parsed(text);
  if (whole !== undefined) yield typeof whole === "string" ? parsed(whole) : whole;
  let from = 0;
  for (let tries = 0; tries < 20; tries += 1) {
    const start = text.indexOf("{", from);
    if (start < 0) return;
    const end = endOfObject(text, start);
    const value = end < 0 ? undefined : parsed(text.slice(start, end));
    if (value !== undefined) yield value;
    from = value === undefined ? start + 1 : end;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Index after the brace that closes the one at `start`, minding strings; -1: it is never closed. */
function endOfObject(text: string, start: number): number {
  let depth = 0;
  let inString = false;
  for (let i = start; i < text.length; i += 1) {
    const c = text[i];
    if (inString) {
      if (c === "\\") i += 1;
      else if (c === '"') inString = false;
    } else if (c === '"') inString = true;
    else if (c === "{") depth += 1;
    else if (c === "}" && --depth === 0) return i + 1;
  }
  return -1;
}
