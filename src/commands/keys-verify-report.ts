/** What `vigilane keys verify` found, as lines for people. Pure. */
import type { KeyCheck } from "../processors/check-key.ts";
import type { Sharing } from "../processors/probe-sharing.ts";
import type { Seeming } from "../processors/seeming-accounts.ts";
import { table } from "./table.ts";

/** One key of the file, and what became of asking with it. */
export interface VerifiedKey {
  group: string;
  key: string;
  account: string;
  model: string;
  /** disabled: in the file, and not asked. held: its group's own windows had no room. */
  state: KeyCheck["state"] | "disabled" | "held";
  /** Null: it was not asked. */
  check: KeyCheck | null;
  /** Why it was not asked. */
  why: string | null;
}

/** Keys that may share a quota: those of one provider, address and model. */
export interface ProbedDomain {
  name: string;
  /** Null: not probed, and `why`. */
  sharing: Sharing | null;
  why: string | null;
}

export interface VerifyReport {
  keys: VerifiedKey[];
  seeming: Seeming[];
  probed: ProbedDomain[];
  spent: { calls: number; promptTokens: number; completionTokens: number };
}

export const nameOf = ({ group, key }: Pick<VerifiedKey, "group" | "key">) => `${group}/${key}`;

export function reportLines({ keys, seeming, probed, spent }: VerifyReport): string[] {
  const rows = keys.map(({ group, key, state, check, model }) => [
    ...[group, key, state],
    check?.latencyMs == null ? "-" : `${(check.latencyMs / 1_000).toFixed(2)} s`,
    modelText(model, check),
    limitsText(check),
  ]);
  const { calls, promptTokens, completionTokens } = spent;
  return [
    ...table([["GROUP", "KEY", "STATE", "LATENCY", "MODEL", "LIMITS TOLD"], ...rows]).split("\n"),
    ...keys.flatMap(faultLines),
    ...seeming.map(
      ({ keys: together, why }) =>
        `${together.join(", ")} seem to share one account: ${why}. ${advice(together, keys)}`,
    ),
    ...probed.flatMap((domain) => probedLines(domain, keys)),
    `Spent: ${calls} call${calls === 1 ? "" : "s"}; the first one of each key took ${promptTokens} + ${completionTokens} tokens in all.`,
  ];
}

function modelText(configured: string, check: KeyCheck | null): string {
  if (check?.modelFound == null) return `${configured}: not known`;
  if (!check.modelFound) return `${configured}: not found, or not allowed`;
  return check.model === null || check.model === configured ? configured : `${configured} (answers as ${check.model})`;
}

function limitsText(check: KeyCheck | null): string {
  if (!check || check.limits.length === 0) return "none";
  return check.limits.map(({ what, limit, remaining }) => `${what} ${remaining ?? "?"} of ${limit ?? "?"}`).join(", ");
}

function faultLines(one: VerifiedKey): string[] {
  if (one.state === "held") return [`${nameOf(one)}: not asked: ${one.why}`];
  const refusal = one.check?.refusal;
  return refusal ? [`${nameOf(one)}: ${refusal.cause}: ${refusal.said} (${refusal.code}). ${refusal.remedy}`] : [];
}

/** How the keys' file is to say that these share one quota. */
function advice(together: readonly string[], keys: readonly VerifiedKey[]): string {
  const meant = keys.filter((one) => together.includes(nameOf(one)));
  const accounts = [...new Set(meant.map(({ account }) => account))];
  if (accounts.length === 1) return "The keys' file counts them as one already.";
  const groups = [...new Set(meant.map(({ group }) => group))];
  return `The keys' file counts them as ${accounts.length}: write \`account: ${accounts[0]}\` at ${groups.join(" and ")}.`;
}

function probedLines({ name, sharing, why }: ProbedDomain, keys: readonly VerifiedKey[]): string[] {
  if (!sharing) return [`${name}: not probed: ${why}`];
  const { quotas, notKnown } = sharing;
  const asked = quotas.flat().length + notKnown.length;
  const least = notKnown.length > 0 ? "at least " : "";
  return [
    `${name}: these ${asked} keys give ${least}${quotas.length} quota${quotas.length === 1 ? "" : "s"}.`,
    ...quotas
      .filter((together) => together.length > 1)
      .map((together) => `  shared: ${together.join(", ")}. ${advice(together, keys)}`),
    ...separateLines(quotas, keys),
    ...notKnown.map((one) => `  not known: ${one.name}: ${one.why}`),
  ];
}

function separateLines(quotas: readonly string[][], keys: readonly VerifiedKey[]): string[] {
  const alone = quotas.filter((together) => together.length === 1).flat();
  const accountOf = (name: string) => keys.find((one) => nameOf(one) === name)?.account;
  const firsts = quotas.flatMap(([first]) => (first === undefined ? [] : [first]));
  const lumped = [...Map.groupBy(firsts, accountOf)].filter(([, names]) => names.length > 1);
  return [
    ...(alone.length > 0 ? [`  separate, a quota of its own each: ${alone.join(", ")}`] : []),
    ...lumped.map(
      ([account, names]) =>
        `  the keys' file counts ${names.join(" and ")} as one account (${account}), but they are not: a key group with an account of its own for each gives more.`,
    ),
  ];
}
