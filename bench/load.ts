/**
 * Fifty cameras at 25 groups a second: `vigilane up` without cameras of its own, and `vigilane load` beside it, as people
 * run them; LLM mean 1.0 s, P95 1.45 s; quota four times the load.
 *
 *     node bench/load.ts [seconds, default 60]
 *
 * Prints the report's figures that are claimed, as one line of JSON: endToEnd P95 < 2 s, success > 99 %, overhead P95 ≤ 60 ms.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Report } from "../src/supervisor/report.ts";

const GROUPS = 20;
const folder = mkdtempSync(join(tmpdir(), "vigilane-bench-"));
const seconds = process.argv[2] ?? "60";
const windows = "{ requestsPerSecond: 5, requestsPerMinute: 300 }";
const ids = Array.from({ length: GROUPS }, (_, i) => `bench-${String(i + 1).padStart(2, "0")}`);
const keys = join(folder, "keys.yaml");
const simulator = join(folder, "simulator.yaml");
writeFileSync(
  keys,
  `keyGroups:\n${ids.map((id) => `  - { id: ${id}, provider: simulated, windows: ${windows}, keys: [{ id: key, secret: ${id} }] }`).join("\n")}\n`,
);
writeFileSync(
  simulator,
  `latency: { meanMs: 1000, p95Ms: 1450 }\naccounts:\n${ids.map((id) => `  - { id: ${id}, keys: [${id}], windows: ${windows} }`).join("\n")}\n`,
);
const env = {
  ...process.env,
  VIGILANE_DATA: join(folder, "data"),
  VIGILANE_KEYS: keys,
  VIGILANE_SIMULATOR: simulator,
  VIGILANE_CALLS_PER_DAY: "0",
};

const up = spawn(
  process.execPath,
  ["src/main.ts", "up", "--roles", "store,provider,bridge,worker,results,gateway", "--port", "0"],
  { env, stdio: ["ignore", "pipe", "inherit"] },
);
try {
  await new Promise<void>((resolve, reject) => {
    up.stdout.on("data", (chunk) => String(chunk).includes("vigilane is ready") && resolve());
    up.once("exit", (code) => reject(new Error(`vigilane ended with ${code} before it was ready`)));
  });
  const report = join(folder, "report.json");
  const load = spawn(
    process.execPath,
    ["src/main.ts", "load", "--cameras", "50", "--rate", "0.5", "--for", seconds, "--report", report],
    { env, stdio: ["ignore", "inherit", "inherit"] },
  );
  await once(load, "exit");
  const { groups, outcomes, lost, duplicates, latencyMs, keyGroups, rssMb } = Report.parse(
    JSON.parse(readFileSync(report, "utf8")),
  );
  const success = outcomes.assessed / groups;
  const holds =
    (latencyMs.endToEnd.p95 ?? 9e9) < 2_000 &&
    success > 0.99 &&
    (latencyMs.overhead.p95 ?? 9e9) <= 60 &&
    lost === 0 &&
    duplicates === 0;
  const rejected429 = keyGroups.reduce((sum, group) => sum + group.rejected429, 0);
  console.log(
    JSON.stringify({
      bench: "load",
      groups,
      success,
      lost,
      duplicates,
      rejected429,
      endToEnd: latencyMs.endToEnd,
      overhead: latencyMs.overhead,
      latencyMs,
      rssMb,
      holds,
    }),
  );
  process.exitCode = holds ? 0 : 1;
} finally {
  up.kill("SIGTERM");
  if (up.exitCode === null) await once(up, "exit");
  rmSync(folder, { recursive: true, force: true });
}
