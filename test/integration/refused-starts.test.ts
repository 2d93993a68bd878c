/** `vigilane` as a process, with settings that it must refuse before it starts anything. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { runningSystem } from "../../src/commands/running-system.ts";
import { Settings } from "../../src/settings.ts";
import { writeRunFile } from "../../src/supervisor/run-file.ts";

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

test("settings of S3 that do not fit each other are refused by up and by a role alone, without the secret", async () => {
  for (const command of ["up", "worker"]) {
    const env = { REDIS_URL: "redis://127.0.0.1:1", VIGILANE_S3_BUCKET: "crops" };
    const half = await refused([command], { ...env, VIGILANE_S3_SECRET_ACCESS_KEY: "planted-0123456789" });
    expect([command, half.code, half.started]).toEqual([command, 2, false]);
    expect(half.said).toMatch(/s3SecretAccessKey is set, and s3AccessKeyId is not.*SETTINGS_INVALID/s);
    expect(half.said).not.toContain("planted");
  }
});

test("up says within seconds that the images' server is away", async () => {
  const since = performance.now();
  const { code, said, started } = await refused(["up"], {
    VIGILANE_S3_BUCKET: "crops",
    VIGILANE_S3_ENDPOINT: "http://127.0.0.1:1",
    VIGILANE_S3_ACCESS_KEY_ID: "id",
    VIGILANE_S3_SECRET_ACCESS_KEY: "planted-0123456789",
  });
  expect([code, started]).toEqual([1, false]);
  expect(said).toMatch(
    /bucket crops at http:\/\/127\.0\.0\.1:1 cannot be reached.*IMAGES_AWAY.*Start the S3 server again/s,
  );
  expect(said).not.toContain("planted");
  expect(performance.now() - since).toBeLessThan(3 * 5_000);
});

test("load is refused where the vigilane that runs keeps its crops elsewhere", async () => {
  const data = mkdtempSync(join(tmpdir(), "vigilane-load-"));
  onTestFinished(() => rmSync(data, { recursive: true, force: true }));
  const run = { pid: process.pid, redisUrl: "redis://127.0.0.1:1", kafkaBrokers: [], gatewayUrl: null, startedAt: "" };
  const settings = { ...Settings.parse({}), data };
  writeRunFile(data, { ...run, s3Bucket: "crops" });
  expect(() => runningSystem(settings)).toThrow(
    /keeps its crops in the S3 bucket crops, and these settings name no bucket/,
  );
  expect(runningSystem({ ...settings, s3Bucket: "crops" })?.settings).toMatchObject({ redisUrl: run.redisUrl });
  writeRunFile(data, { ...run, s3Bucket: null });
  expect(() => runningSystem({ ...settings, s3Bucket: "crops" })).toThrow(
    /in the data folder, and these settings name crops/,
  );
  expect(runningSystem(settings)?.settings).toMatchObject({ redisUrl: run.redisUrl });
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
