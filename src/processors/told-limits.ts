/** What an answer's headers say of limits and of whose account it was. Pure; a provider that says nothing is the usual one. */
import { resetMs } from "./dialects/told-wait.ts";

export interface ToldLimit {
  /** As the header names it: requests, tokens, requests-day; "requests" where it names nothing. */
  what: string;
  limit: number | null;
  remaining: number | null;
  /** Until it is full again. */
  resetMs: number | null;
}

type Headers = Readonly<Record<string, string>>;

/**
 * x-ratelimit-{limit,remaining,reset}[-what] (OpenAI, OpenRouter and many others), anthropic-ratelimit-what-{limit,remaining,
 * reset}. `nowMs`: wall clock, for resets that name a moment.
 */
export function limitsIn(headers: Headers, nowMs: number): ToldLimit[] {
  const found = new Map<string, ToldLimit>();
  for (const [name, value] of Object.entries(headers)) {
    const plain = /^x-ratelimit-(limit|remaining|reset)(?:-(.+))?$/.exec(name);
    const turned = /^anthropic-ratelimit-(.+)-(limit|remaining|reset)$/.exec(name);
    const field = plain?.[1] ?? turned?.[2];
    const what = plain ? (plain[2] ?? "requests") : turned?.[1];
    if (field === undefined || what === undefined) continue;
    const limit = found.get(what) ?? { what, limit: null, remaining: null, resetMs: null };
    found.set(what, limit);
    if (field === "reset") limit.resetMs = resetMs(value, nowMs) ?? null;
    else limit[field === "limit" ? "limit" : "remaining"] = /^\d+(\.\d+)?$/.test(value.trim()) ? Number(value) : null;
  }
  return [...found.values()].filter(({ limit, remaining }) => limit !== null || remaining !== null);
}

/** Whose account it was, where the provider tells: an organisation's id, in a header or in the words of a refusal. */
export function ownerIn(headers: Headers, said = ""): string | null {
  const header = Object.keys(headers).find((name) => /^[a-z]+-organization(-id)?$/.test(name));
  return (header && headers[header]) || (/\bin organization (org-\w+)/.exec(said)?.[1] ?? null);
}
