/**
 * What Kafka adds to the way from a capture to the page: bench/load.ts with the topics in Redis, on a local Kafka (needs
 * Java), and there without transactions; one after the other, in rounds.
 *
 *     node bench/bridge/end-to-end.ts [--rounds 3] [--seconds 60] [--only redis,kafka,kafka-plain]
 *
 * Overhead is all that is not the LLM. The ratios to Redis are of medians of P50 and of P95.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { z } from "zod";
import { type Figure, quantile, report } from "../quota/report.ts";
import { interleave, readOptions } from "../quota/rounds.ts";

const LATENCY = z.object({ p50: z.number(), p95: z.number() });
const Line = z.object({
  ...{ success: z.number(), lost: z.number(), duplicates: z.number() },
  ...{ overhead: LATENCY, endToEnd: LATENCY },
  latencyMs: z.object({ detectedToAdmitted: LATENCY, completedToPublished: LATENCY, publishedToShown: LATENCY }),
});
type Line = z.infer<typeof Line>;

const VARIANTS: Record<string, NodeJS.ProcessEnv> = {
  redis: {},
  kafka: { VIGILANE_KAFKA: "local" },
  "kafka-plain": { VIGILANE_KAFKA: "local", VIGILANE_KAFKA_EXACTLY_ONCE: "false" },
};
const given = readOptions();
const options = { ...given, rounds: given.rounds === 5 ? 3 : given.rounds };
const results = await interleave(
  Object.fromEntries(Object.entries(VARIANTS).map(([name, env]) => [name, () => load(env)])),
  options,
);
const medianOf = (name: string, of: (line: Line) => number) =>
  quantile(
    (results.get(name) ?? []).map(of).toSorted((a, b) => a - b),
    0.5,
  );
const figures = Object.keys(VARIANTS).flatMap((name): Figure[] => {
  const runs = results.get(name);
  if (!runs) return [];
  const figure = (what: string, of: (line: Line) => number): Figure => ({ row: name, what, values: runs.map(of) });
  const ratio = (what: string, of: (line: Line) => number): Figure => ({
    ...{ row: name, what: `${what} / on Redis`, values: [medianOf(name, of) / medianOf("redis", of)] },
  });
  const p50 = (line: Line) => line.overhead.p50;
  const p95 = (line: Line) => line.overhead.p95;
  return [
    figure("overhead P50, ms", p50),
    figure("overhead P95, ms", p95),
    ...(name === "redis" || !results.has("redis") ? [] : [ratio("overhead P50", p50), ratio("overhead P95", p95)]),
    figure("detected to admitted P95, ms", (line) => line.latencyMs.detectedToAdmitted.p95),
    figure("completed to published P95, ms", (line) => line.latencyMs.completedToPublished.p95),
    figure("published to shown P95, ms", (line) => line.latencyMs.publishedToShown.p95),
    figure("end to end P95, ms", (line) => line.endToEnd.p95),
    figure("success", (line) => line.success),
    figure("lost or doubled", (line) => line.lost + line.duplicates),
  ];
});
report("bridge-end-to-end", figures, options);

async function load(env: NodeJS.ProcessEnv): Promise<Line> {
  const seconds = String(Math.max(given.seconds, 1));
  const child = spawn(process.execPath, ["bench/load.ts", seconds], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.on("data", (chunk) => {
    said += String(chunk);
  });
  await once(child, "close");
  const last = said
    .trim()
    .split("\n")
    .findLast((line) => line.startsWith('{"bench":"load"'));
  if (!last) throw new Error(`bench/load.ts gave no figures:\n${said.slice(-2_000)}`);
  return Line.parse(JSON.parse(last));
}
