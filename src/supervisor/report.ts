/** The report of a run: its shape for machines, and the same as a table for people. */
import { z } from "zod";

const Percentiles = z.object({ p50: z.number().nullable(), p95: z.number().nullable(), p99: z.number().nullable() });

/**
 * What each latency spans, in ms. captureToDetected is of every frame, the others of groups; publishedToShown, endToEnd
 * and overhead of verdicts (assessed or reused; overhead: assessed) as a gateway showed them. overhead: endToEnd less
 * the LLM's time, the detector's time, and the wait for quota (from admission until task and lease were taken).
 */
export const LATENCIES = [
  "captureToDetected",
  "detectedToAdmitted",
  "admittedToStarted",
  "llm",
  "completedToPublished",
  "publishedToShown",
  "endToEnd",
  "overhead",
] as const;
export type LatencyName = (typeof LATENCIES)[number];

export const Report = z.object({
  /** For which detections were counted, draining not included. */
  seconds: z.number(),
  cameras: z.number(),
  frames: z.object({ decoded: z.number(), detected: z.number(), dropped: z.number() }),
  /** Entries of trafficGroups in the detections of this time. */
  groups: z.number(),
  outcomes: z.object({
    assessed: z.number(),
    reused: z.number(),
    failed: z.number(),
    expired: z.number(),
    superseded: z.number(),
  }),
  /** Groups without any outcome after draining. */
  lost: z.number(),
  /** Results beyond the first of one group and revision. */
  duplicates: z.number(),
  /** Groups that were detected, lost by the store and published again by their producer (or sent twice by a foreign one). */
  detectedAgain: z.number(),
  latencyMs: z.record(z.enum(LATENCIES), Percentiles),
  keyGroups: z.array(
    z.object({
      id: z.string(),
      calls: z.number(),
      ok: z.number(),
      rejected429: z.number(),
      /** Calls made ÷ calls that the narrowest window would have allowed in this time, 0 to 1. */
      quotaUsed: z.number(),
    }),
  ),
  provider: z.object({ simulated: z.boolean() }),
  /** Processes that had to be started again. */
  restarts: z.number(),
  /** Peak of each role's resident memory, all its processes together, MiB; what they start (ffmpeg) is not in it. */
  rssMb: z.record(z.string(), z.number()),
});
export type Report = z.infer<typeof Report>;

/** Why a run counts as failed; empty: it does not. */
export function faultsOf(report: Report): string[] {
  const faults: string[] = [];
  if (report.groups < 1) faults.push("no group was seen");
  if (report.lost > 0) faults.push(`${report.lost} groups were lost: they have no outcome`);
  if (report.duplicates > 0) faults.push(`${report.duplicates} results came twice`);
  return faults;
}

/** For people, about forty lines. */
export function showReport(report: Report): string {
  const { frames, outcomes } = report;
  const share = (n: number) => (report.groups > 0 ? ` (${((100 * n) / report.groups).toFixed(1)} %)` : "");
  const row = (name: string, value: string) => `  ${name.padEnd(22)}${value}`;
  const lines = [
    `Report of ${report.seconds.toFixed(0)} s`,
    row("cameras", String(report.cameras)),
    row("frames", `${frames.decoded} decoded, ${frames.detected} detected, ${frames.dropped} dropped`),
    row("groups", String(report.groups)),
    ...Object.entries(outcomes).map(([name, n]) => row(`  ${name}`, `${n}${share(n)}`)),
    row("lost, duplicates", `${report.lost}, ${report.duplicates}`),
    row("detected again", String(report.detectedAgain)),
    row("restarts", String(report.restarts)),
    row("provider", report.provider.simulated ? "simulated" : "real"),
    `  ${"latency, ms".padEnd(22)}${"p50".padStart(9)}${"p95".padStart(9)}${"p99".padStart(9)}`,
    ...LATENCIES.map((name) => {
      const { p50, p95, p99 } = report.latencyMs[name];
      return `    ${name.padEnd(20)}${[p50, p95, p99].map((v) => (v === null ? "-" : v.toFixed(1)).padStart(9)).join("")}`;
    }),
    `  ${"key group".padEnd(22)}${"calls".padStart(9)}${"ok".padStart(9)}${"429".padStart(9)}${"quota".padStart(9)}`,
    ...report.keyGroups.map(
      (g) =>
        `    ${g.id.padEnd(20)}${[g.calls, g.ok, g.rejected429].map((n) => String(n).padStart(9)).join("")}${`${(100 * g.quotaUsed).toFixed(0)} %`.padStart(9)}`,
    ),
    row(
      "peak memory, MiB",
      Object.entries(report.rssMb)
        .map(([role, mb]) => `${role} ${mb}`)
        .join(", ") || "-",
    ),
  ];
  return lines.join("\n");
}
