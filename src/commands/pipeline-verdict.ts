/** The verdict of `pipeline-test`: its shape for scripts, why it fails, and the same as a table for people. */
import { z } from "zod";
import { OUTCOMES, Outcome } from "../messages.ts";

/**
 * producer: only publishes, and is well when the topic took everything. consumer: only reads, and is well when any result came.
 * e2e: both, and is well when each group came back once, judged.
 */
export const MODES = ["producer", "consumer", "e2e"] as const;
export const Mode = z.enum(MODES);
export type Mode = z.infer<typeof Mode>;

const Percentiles = z.object({ p50: z.number().nullable(), p95: z.number().nullable() });

export const PipelineVerdict = z.object({
  mode: Mode,
  passed: z.boolean(),
  /** Why not, for people; empty when passed. */
  faults: z.array(z.string()),
  system: z.object({
    topics: z.enum(["redis", "kafka"]),
    /** host:port of the store or of the brokers; never a password. */
    at: z.string(),
    /** Null: no result has said. */
    simulated: z.boolean().nullable(),
    models: z.array(z.string()),
    /** Roles that a judged group needs and of which none gives a sign of life; null: nobody looked. */
    rolesAbsent: z.array(z.string()).nullable(),
  }),
  /** From the first message that could come to the end, waiting included. */
  seconds: z.number(),
  /** Ended by a signal before its time. */
  interrupted: z.boolean(),
  /** Groups, one a message: asked for, accepted by the topic, refused by it (or by the image store), neither within the time-out. */
  asked: z.number(),
  sent: z.number(),
  refused: z.number(),
  unacknowledged: z.number(),
  /** Results: first ones of their group; e2e: of what was sent; consumer: of all cameras. */
  received: z.number(),
  receivedPerSecond: z.number(),
  cameras: z.number(),
  missing: z.number(),
  /** Task ids of some of the missing. */
  someMissing: z.array(z.string()),
  duplicates: z.number(),
  /** Messages on the results topic that are no results. */
  unreadable: z.number(),
  outcomes: z.record(Outcome, z.number()),
  errors: z.record(z.string(), z.number()),
  /**
   * accepted: from publishing to the topic's word. roundTrip: from a group's time to its result here (e2e). sinceCapture: the
   * same by what the results say of their frames (consumer). llm: the calls.
   */
  latencyMs: z.object({ accepted: Percentiles, roundTrip: Percentiles, sinceCapture: Percentiles, llm: Percentiles }),
});
export type PipelineVerdict = z.infer<typeof PipelineVerdict>;

/** Why it fails, the cause before its consequences; empty: it does not. */
export function faultsOf(verdict: Omit<PipelineVerdict, "faults" | "passed">): string[] {
  const { mode, system, asked, sent, refused, unacknowledged, received, missing, duplicates, outcomes } = verdict;
  const faults: string[] = [];
  const judged = outcomes.assessed + outcomes.reused;
  if (mode !== "consumer") {
    if (refused > 0) faults.push(`${refused} detections were refused`);
    if (unacknowledged > 0) faults.push(`${unacknowledged} detections were not accepted in time`);
    const unsent = asked - sent - refused - unacknowledged;
    if (unsent > 0) faults.push(`interrupted: ${unsent} of ${asked} detections were not sent`);
  }
  if (mode === "producer") return faults;
  for (const role of system.rolesAbsent ?? []) faults.push(`no ${role} is there`);
  if (mode === "consumer") {
    if (received === 0) faults.push("no result came");
    return faults;
  }
  if (missing > 0) faults.push(`${missing} of ${sent} results are missing`);
  if (duplicates > 0) faults.push(`${duplicates} results came twice`);
  if (outcomes.failed > 0) faults.push(`${outcomes.failed} groups could not be judged (${list(verdict.errors)})`);
  if (received > 0 && judged + outcomes.failed === 0) {
    const { expired, superseded } = outcomes;
    faults.push(`no group was judged in time: ${list({ expired, superseded })}`);
  }
  return faults;
}

const list = (counts: Record<string, number>) =>
  Object.entries(counts)
    .filter(([, n]) => n > 0)
    .map(([name, n]) => `${name} ${n}`)
    .join(", ");

/** For people, some fifteen lines; the last one is the verdict. */
export function showVerdict(verdict: PipelineVerdict): string {
  const { mode, system, latencyMs: ms } = verdict;
  const row = (name: string, value: string) => `  ${name.padEnd(22)}${value}`;
  const times = (name: string, { p50, p95 }: { p50: number | null; p95: number | null }) =>
    p50 === null || p95 === null ? [] : [row(name, `P50 ${shown(p50)}, P95 ${shown(p95)}`)];
  const publishes = mode !== "consumer";
  const reads = mode !== "producer";
  const provider = system.simulated === null ? "not known" : system.simulated ? "simulated" : "real";
  return [
    `Pipeline test (${mode}), ${verdict.seconds.toFixed(1)} s`,
    row("topics", `${system.topics === "kafka" ? "Kafka" : "Redis Streams"} at ${system.at}`),
    ...(reads ? [row("provider", [provider, ...system.models].join(", "))] : []),
    ...(publishes ? [row("sent", `${verdict.sent} of ${verdict.asked}`)] : []),
    ...(publishes ? [row("refused, unanswered", `${verdict.refused}, ${verdict.unacknowledged}`)] : []),
    ...(reads ? [row("received", `${verdict.received} (${verdict.receivedPerSecond} a second)`)] : []),
    ...(reads ? [row("cameras", String(verdict.cameras))] : []),
    ...(mode === "e2e" ? [row("missing", String(verdict.missing))] : []),
    ...(reads ? [row("duplicates", String(verdict.duplicates))] : []),
    ...(reads ? OUTCOMES.map((outcome) => row(`  ${outcome}`, String(verdict.outcomes[outcome]))) : []),
    ...Object.entries(verdict.errors).map(([code, n]) => row(`    ${code}`, String(n))),
    ...(verdict.unreadable > 0 ? [row("unreadable", String(verdict.unreadable))] : []),
    ...times("accepted after", ms.accepted),
    ...times("result after", mode === "e2e" ? ms.roundTrip : ms.sinceCapture),
    ...times("LLM", ms.llm),
    ...verdict.someMissing.map((taskId) => row("  missing", taskId)),
    verdict.passed ? "Passed." : `Failed: ${verdict.faults.join("; ")}.`,
  ].join("\n");
}

const shown = (ms: number) => (ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(2)} s`);
