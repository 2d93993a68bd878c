/** Figures and times for people. */
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long" });
const whole = new Intl.NumberFormat("en-GB");

/** "14:03:22 UTC" */
export const clockTime = (ms: number) => clock.format(ms);
export const fullTime = (ms: number) => full.format(ms);
export const count = (n: number) => whole.format(n);

/** "now", "12 s", "3 min", "2 h", "4 d" */
export function age(ms: number): string {
  const s = Math.max(0, ms) / 1000;
  if (s < 1.5) return "now";
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** What is left, never below nought: "4 s" (rounded up), "3 min" */
export function countdown(ms: number): string {
  const s = Math.max(0, Math.ceil(ms / 1000));
  if (s < 120) return `${s} s`;
  return s < 7_200 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

/** "now", "12 s ago". */
export const ago = (ms: number) => (age(ms) === "now" ? "now" : `${age(ms)} ago`);

/** "850 ms", "1.42 s", "12.4 s" */
export function duration(ms: number | null): string {
  if (ms === null) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** "1 s", "2.4 s", "5 min", "12 h", "1 d" */
export function interval(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toFixed(1))} s`;
  if (ms < 3_600_000) return `${Number((ms / 60_000).toFixed(1))} min`;
  if (ms < 86_400_000) return `${Number((ms / 3_600_000).toFixed(1))} h`;
  return `${Number((ms / 86_400_000).toFixed(1))} d`;
}

export const percent = (share: number | null) =>
  share === null ? "–" : `${share > 0.995 && share < 1 ? "99.9" : Math.round(share * 100)}%`;

export const rate = (perSecond: number) => perSecond.toFixed(perSecond < 10 ? 1 : 0);

/** "3 persons, 1 car" */
export function tally(classes: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of classes) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].map(([name, n]) => `${n} ${n === 1 ? name : plural(name)}`).join(", ");
}

const plural = (name: string) => (/(s|x|ch|sh)$/.test(name) ? `${name}es` : `${name}s`);

/** "SHOUTING_CODE" to "Shouting code" */
export const codeInWords = (code: string) => {
  const words = code.replaceAll("_", " ").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
};

/** What providers mean by refusing (docs/providers.md), where an error code does not say it. */
export const REASONS: Readonly<Record<string, string>> = {
  rate_second: "Rate per second",
  rate_minute: "Rate per minute",
  burst: "Burst",
  tokens: "Tokens",
  day: "Day's quota",
  balance: "Balance",
  key: "Bad key",
  model: "Model not allowed",
  content: "Content refused",
  request: "Bad request",
  server: "Server error",
  timeout: "Time-out",
  network: "Network",
};

/** By its reason where that is known, else by its code. A page may meet reasons that are newer than it. */
export const causeInWords = (code: string, reason: string | null | undefined) =>
  reason ? (REASONS[reason] ?? codeInWords(reason)) : codeInWords(code);

/** "bridge, results, 1 of 3 detectors" */
export const noticedBy = ({ noticed }: { noticed: readonly { role: string; processes: number; of: number }[] }) =>
  noticed
    .map(({ role, processes, of }) => (processes < of ? `${processes} of ${of} ${plural(role)}` : role))
    .join(", ");
