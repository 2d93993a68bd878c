/** `vigilane pipeline-test`: synthetic detections in, their results awaited, and a verdict; for people of the older system. */
import { randomInt } from "node:crypto";
import { writeFileSync } from "node:fs";
import { z } from "zod";
import { type LoadedSettings, loadSettings, wrongSettings } from "../config.ts";
import { type Context, createLogger, systemClock } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { onStopSignals } from "../supervisor/stop-signals.ts";
import { prettyLine } from "../supervisor/terminal.ts";
import { runPipelineTest } from "./pipeline-run.ts";
import { Mode, showVerdict } from "./pipeline-verdict.ts";
import { nothingRuns, type RunningSystem, runningSystem } from "./running-system.ts";

export const PIPELINE_TEST_HELP = `Usage: vigilane pipeline-test [--mode e2e] [--duration 60] [--count 10] [--timeout 30] [--json] [--report FILE]

Sends detections of cameras that are none (pipeline-test-001 …), each with one group and a real crop, into the running
system, and reads what comes back. The system is the one on the data folder, else REDIS_URL or KAFKA_BROKERS. Each group
is a real call of the configured provider.

  --mode MODE        producer   only sends; well when the topic took everything
                     consumer   only reads the results of all cameras; well when any came
                     e2e        both; well when each group came back once, judged (default)
  --duration N       Seconds over which the detections are spread, or for which results are read. Default 60.
  --count N          Detections to send. Default 10.
  --timeout N        Seconds that connecting, and what was sent last, may take at most. Default 30.
  --json             The verdict alone on the standard output, as JSON; everything else goes to the error output.
  --report FILE      Writes the verdict to this file, as JSON.
  --data DIR         Data folder of the running system. Default ./data.

Exit codes: 0 passed; 1 failed, and the last line says why; 2 a setting is wrong, or nothing runs here. Ctrl-C ends it
with the verdict on what there is so far; once more: at once.
`;

const MOST_MESSAGES = 100_000;
const LONGEST_SECONDS = 86_400;

const amount = (least: number, most: number) =>
  z.coerce.number(`must be a number`).min(least, `must be at least ${least}`).max(most, `must be at most ${most}`);

const Own = z.object({
  mode: Mode.default("e2e"),
  duration: amount(1, LONGEST_SECONDS).default(60),
  count: amount(1, MOST_MESSAGES).int("must be a whole number").default(10),
  timeout: amount(1, 3_600).default(30),
  json: z.boolean().default(false),
});
export type PipelinePlan = z.infer<typeof Own> & { seed: number };

/** Resolves with the exit code. */
export async function pipelineTest(argv: readonly string[]): Promise<number> {
  const flags = { mode: "string", duration: "string", count: "string", timeout: "string", json: "boolean" } as const;
  const loaded = loadSettings(argv, process.env, flags);
  const plan = planOf(loaded);
  const system = systemOf(loaded);
  const aside = (text: string) => void (plan.json ? process.stderr : process.stdout).write(`${text}\n`);
  const output = { write: (line: string) => aside(prettyLine(line.trimEnd(), "pipeline-test")) };
  const log = createLogger("pipeline-test", system.settings.logLevel, output);
  const context: Context = { clock: systemClock, log };
  const stop = new AbortController();
  const offSignals = onStopSignals(
    () => {
      aside("Stopping …");
      stop.abort(new VigilaneError("STOPPED", "stopped before anything could be sent or read"));
    },
    () => process.exit(130),
  );
  try {
    aside(announce(plan));
    const verdict = await runPipelineTest(plan, system, context, stop.signal);
    const json = JSON.stringify(verdict, null, 2);
    process.stdout.write(`${plan.json ? json : showVerdict(verdict)}\n`);
    if (system.settings.report) writeFileSync(system.settings.report, `${json}\n`);
    return verdict.passed ? 0 : 1;
  } finally {
    offSignals();
  }
}

/** Exported for its test. Throws SETTINGS_INVALID with every fault of the command's own flags. */
export function planOf({ own, operands }: Pick<LoadedSettings, "own" | "operands">): PipelinePlan {
  const read = Own.safeParse(own);
  const faults = [
    ...operands.map((operand) => `${JSON.stringify(operand)} is no flag`),
    ...(read.error?.issues ?? []).map(({ path, message }) => {
      const name = path.join(".");
      return `flag --${name} = ${JSON.stringify(own[name])}: ${message}`;
    }),
  ];
  if (faults.length > 0 || !read.success) {
    throw wrongSettings(faults, "vigilane pipeline-test --help");
  }
  return { ...read.data, seed: randomInt(1_000_000) };
}

function systemOf({ settings }: Pick<LoadedSettings, "settings">): RunningSystem {
  const running = runningSystem(settings);
  if (running) return running;
  return settings.kafkaBrokers.length > 0 ? { settings, here: false } : nothingRuns(settings);
}

function announce({ mode, count, duration, timeout }: PipelinePlan): string {
  const sends = `sends ${count} synthetic detections over ${duration} s`;
  if (mode === "producer") return `Pipeline test (producer): ${sends}.`;
  if (mode === "consumer") return `Pipeline test (consumer): reads what results come for ${duration} s.`;
  return `Pipeline test (e2e): ${sends}, then waits up to ${timeout} s for their results.`;
}
