/**
 * How the simulated provider says no: one file a provider whose words it borrows, written from that provider's
 * documentation alone. Nothing here is shared with the part of vigilane that reads such answers.
 */
import type { Answer } from "../answers.ts";
import type { WindowLimit } from "../sliding-windows.ts";

/** Which of an account's quotas is used up. */
export type FullWindow = "second" | "minute" | "day" | "tokens" | "burst" | "concurrency";

export interface Full {
  kind: FullWindow;
  /** What the window holds; tokens and bursts have no window here: the number is only said. */
  limit: number;
  /** Until it has a place again, ms. */
  freeInMs: number;
  /** The account says how long to wait, in this provider's way. */
  tellsWait: boolean;
  /** Wall clock, ms, for resets that are moments. */
  nowMs: number;
}

/** What a request asks for besides its messages, as far as providers differ in it. */
export interface Parameters {
  model: string;
  /** Of response_format; undefined: none was sent. */
  format: string | undefined;
  /** Of response_format json_schema. */
  schema: unknown;
  maxTokens: number | undefined;
  maxCompletionTokens: number | undefined;
  temperature: number | undefined;
}

/** One account as the headers of an answer show it. */
export interface Standing {
  account: string;
  /** The request's window that providers tell of: the longest up to a minute; undefined: there is none. */
  window: { limit: number; remaining: number; freeInMs: number } | undefined;
}

export interface SpokenDialect {
  /** Why this provider does not take such a request; undefined: it does. */
  unfit(asked: Parameters): string | undefined;
  /** Headers of an answer that say whose account it is and how much of its window is left. Absent: this provider does not say. */
  standing?(standing: Standing): Record<string, string>;
  /** Headers in which an answer says for how long it was worked on. Absent: this provider does not say. */
  worked?(ms: number): Record<string, string>;
  full(full: Full): Answer;
  unknownKey(): Answer;
  arrears(): Answer;
  /** The key is good, but not for this model. */
  modelDenied(model: string): Answer;
  contentRefused(): Answer;
  badRequest(message: string, status: number): Answer;
  noSuchPath(): Answer;
  serverError(overloaded: boolean): Answer;
}

/** OpenAI's frame around an error, which most others have taken over. */
export const openAiFrame = (status: number, code: string | number | null, message: string, type: string): Answer => ({
  status,
  body: { error: { message, type, param: null, code } },
});

export function kindOfWindow({ windowMs }: WindowLimit): FullWindow {
  if (windowMs >= 86_400_000) return "day";
  return windowMs >= 60_000 ? "minute" : "second";
}

export const wholeSeconds = (ms: number) => Math.ceil(ms / 1_000);
