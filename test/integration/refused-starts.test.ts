/** `vigilane` as a process, with settings that it must refuse before it starts anything. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

function refused(args: string[], env: NodeJS.ProcessEnv = {}) {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-refused-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const data = join(folder, "data");
  return new Promise<{ code: unknown; said: string; started: boolean }>((resolve) => {
    execFile(
      process.execPath,
      [MAIN, ...args, "--data", data],
      { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, ...env }, timeout: 30_000 },
      (error, stdout, stderr) => {
        resolve({ code: error?.code ?? 0, said: stdout + stderr, started: existsSync(data) });
      },
    );
  });
}

test("a broker that is no host:port is refused by up and by a role alone", async () => {
  for (const command of ["up", "bridge"]) {
    const { code, said, started } = await refused([command], { KAFKA_BROKERS: "kafka" });
    expect([command, code, started]).toEqual([command, 2, false]);
    expect(said).toMatch(/kafkaBrokers.*environment KAFKA_BROKERS.*host:port.*SETTINGS_INVALID/s);
  }
});

test("a broker of one's own beside another one is refused, and one without Java too", async () => {
  const both = await refused(["up", "--kafka", "local"], { KAFKA_BROKERS: "127.0.0.1:1" });
  expect([both.code, both.started]).toEqual([2, false]);
  expect(both.said).toMatch(/kafka = local, and kafkaBrokers = 127\.0\.0\.1:1.*SETTINGS_INVALID/s);
  const node = dirname(process.execPath);
  const without = await refused(["up", "--kafka", "local"], { PATH: node, JAVA_HOME: "" });
  expect([without.code, without.started]).toEqual([1, false]);
  expect(without.said).toMatch(/no java on the PATH.*JAVA_MISSING/s);
});

test("up says within seconds that no broker answers", async () => {
  const since = performance.now();
  const { code, said, started } = await refused(["up"], { KAFKA_BROKERS: "127.0.0.1:1" });
  expect([code, started]).toEqual([1, false]);
  expect(said).toMatch(/no broker answers at 127\.0\.0\.1:1.*BROKER_AWAY.*Start the Kafka broker again/s);
  expect(performance.now() - since).toBeLessThan(3 * 5_000);
});

test("a report of a run without an end is refused, since it would never be written", async () => {
  const { code, said, started } = await refused(["up", "--report", "report.json"]);
  expect([code, started]).toEqual([2, false]);
  expect(said).toMatch(/report\.json.*SETTINGS_INVALID.*--for/);
});

test("load takes --report without --for: it always has an end", async () => {
  const { said } = await refused(["load", "--report", "report.json"]);
  expect(said).toContain("no vigilane runs on the data folder"); // it got as far as that
});

test("names of hosts are no addresses", async () => {
  const { code, said, started } = await refused(["up", "--allowed-hosts", "https://cams.example.org"]);
  expect([code, started]).toEqual([2, false]);
  expect(said).toMatch(/allowedHosts.*https:\/\/cams\.example\.org.*host names only/);
});
