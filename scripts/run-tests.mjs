/**
 * Runs the tests (Vitest) and says plainly what was left out: a line for each skipped test or file, then
 * `N passed, N failed, N skipped` alone on the last line. With CI=true or --no-skips a skipped test fails the run.
 * --long also runs what takes long (VIGILANE_LONG=1). Everything else on the command line goes to Vitest.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const given = process.argv.slice(2);
const ours = ["--long", "--no-skips"];
const noSkips = process.env.CI === "true" || given.includes("--no-skips");
const long = given.includes("--long");

const folder = mkdtempSync(join(tmpdir(), "vigilane-tests-"));
const resultsFile = join(folder, "results.json");
// A run of everything shares one Kafka broker; without Java it ends at once, and the tests that need one are skipped.
const brokersFile = join(folder, "brokers.json");
const all = given.every((argument) => ours.includes(argument)) && !process.env.KAFKA_BROKERS;
const broker =
  all &&
  spawn(process.execPath, [join(root, "test", "support", "shared-kafka.ts"), brokersFile], {
    stdio: ["pipe", "ignore", "ignore"],
  });
const child = spawn(
  process.execPath,
  [
    join(root, "node_modules", "vitest", "vitest.mjs"),
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${resultsFile}`,
    ...given.filter((argument) => !ours.includes(argument)),
  ],
  {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...(long && { VIGILANE_LONG: "1" }), ...(broker && { VIGILANE_TEST_KAFKA: brokersFile }) },
  },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
child.on("exit", async (code, signal) => {
  const verdict = tally();
  process.exitCode = signal ? 1 : code || (verdict ? 0 : 1);
  if (broker && broker.exitCode === null && broker.signalCode === null) {
    broker.stdin.end();
    await once(broker, "exit");
  }
  rmSync(folder, { recursive: true, force: true });
});

/** Prints the last lines; false when the run counts as failed for what they say. */
function tally() {
  if (!existsSync(resultsFile)) {
    console.log("0 passed, 1 failed, 0 skipped");
    return false;
  }
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const { testResults } = JSON.parse(readFileSync(resultsFile, "utf8"));
  for (const file of testResults) {
    // A file that could not be loaded has no tests, only its own failure.
    if (file.status === "failed" && file.assertionResults.length === 0) counts.failed += 1;
    for (const test of file.assertionResults) {
      const kind = test.status === "passed" || test.status === "failed" ? test.status : "skipped";
      counts[kind] += 1;
      if (kind === "skipped") console.log(`skipped: ${relative(root, file.name)}: ${test.fullName ?? test.title}`);
    }
  }
  if (noSkips && counts.skipped > 0) console.log("A skipped test fails this run (CI=true or --no-skips).");
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed === 0 && counts.passed > 0 && !(noSkips && counts.skipped > 0);
}
