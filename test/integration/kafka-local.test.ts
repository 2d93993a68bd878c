/** The local broker: it starts, alone on its folder, keeps its data and ports over kill -9, and stops within seconds. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Kafka, logLevel } from "kafkajs";
import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { refuseRunningKafka } from "../../src/supervisor/kafka-lock.ts";
import { checkPortFree, freePort } from "../../src/supervisor/programs.ts";
import { javaThere, startKafka } from "../support/kafka.ts";
import { runCommand } from "../support/topics-command.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;

/** The conformance suite kills and restarts a broker each time; here it is only looked at more closely. */
const long = process.env.VIGILANE_LONG === "1" ? test : () => {};

describe.skipIf(!javaThere)("a real broker from Apache Kafka's jars", () => {
  long("keeps what it acknowledged over kill -9, on the same port", { timeout: 120_000 }, async () => {
    const kafka = await startKafka();
    onTestFinished(() => kafka.stop());
    const { brokers } = kafka;
    const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: "kept", numPartitions: 3 }], waitForLeaders: true });
    await admin.disconnect();
    const [node] = kafka.nodes;
    const pid = node?.pid;
    await node?.kill("SIGKILL");
    await node?.start();
    expect(node?.pid).not.toBe(pid);
    const again = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
    await again.connect();
    expect((await again.fetchTopicMetadata({ topics: ["kept"] })).topics[0]?.partitions).toHaveLength(3);
    await again.disconnect();
  });

  test("the command prints its address, refuses a second one on its folder, and SIGTERM ends it and its broker within seconds", {
    timeout: 120_000,
  }, async () => {
    const data = mkdtempSync(join(tmpdir(), "vigilane-kafka-local-"));
    onTestFinished(() => rmSync(data, { recursive: true, force: true }));
    // One id in 64 begins so, which Kafka's own tool would take for an option.
    mkdirSync(join(data, "kafka"));
    const nodes = [{ client: await freePort(), controller: await freePort() }];
    writeFileSync(join(data, "kafka", "cluster.json"), JSON.stringify({ clusterId: "-_v7-_v7-_v7-_v7-_v7-w", nodes }));
    const child = spawn(process.execPath, [MAIN, "kafka-local", "--data", data], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const [line] = (await once(createInterface(child.stdout), "line")) as [string];
    const brokers = [line.replace(/^KAFKA_BROKERS=/, "")];
    const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    expect((await admin.describeCluster()).brokers).toHaveLength(1);
    const env = { VIGILANE_DATA: data, JAVA_HOME: process.env.JAVA_HOME ?? "" };
    const others = [
      ["kafka-local"],
      ["kafka-local", "--port", brokers[0]?.split(":")[1] ?? ""],
      ["up", "--kafka", "local", "--port", "0"],
    ];
    for (const other of others) {
      const { code, out, err } = await runCommand(other, env);
      expect([other, code, out]).toEqual([other, 1, ""]);
      expect(err).toContain(`a broker runs here already at ${brokers[0]} (process ${child.pid}`);
      expect(err).toMatch(/ALREADY_RUNNING.*KAFKA_BROKERS/s);
    }
    // Its controller still does its work.
    await admin.createTopics({ topics: [{ topic: "made", numPartitions: 3 }], waitForLeaders: true });
    await admin.disconnect();
    const since = performance.now();
    child.kill("SIGTERM");
    const [code] = (await once(child, "exit")) as [number | null];
    expect(code).toBe(0);
    expect(performance.now() - since).toBeLessThan(3 * 3_000);
    const refused = new Kafka({ brokers, logLevel: logLevel.NOTHING, retry: { retries: 0 } }).admin();
    await expect(refused.connect()).rejects.toThrow(/ECONNREFUSED|Connection/);
  });
});

test.skipIf(!javaThere)("a broker ends also when its command is killed with -9", { timeout: 120_000 }, async () => {
  const data = mkdtempSync(join(tmpdir(), "vigilane-kafka-local-"));
  onTestFinished(() => rmSync(data, { recursive: true, force: true }));
  const child = spawn(process.execPath, [MAIN, "kafka-local", "--data", data], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  const port = Number(line.split(":")[1]);
  child.kill("SIGKILL");
  await expect.poll(() => checkPortFree(port, "127.0.0.1", "test"), { timeout: 3 * 5_000 }).toBeUndefined();
  // Nor does its lock stand in anybody's way.
  await refuseRunningKafka(data, { clock: systemClock, log: pino({ level: "silent" }) });
});

test.skipIf(!javaThere)(
  "a broker that ends at its start says of what, and not only how",
  { timeout: 120_000 },
  async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    onTestFinished(() => void taken.close());
    await once(taken, "listening");
    await expect(startKafka({ port: (taken.address() as AddressInfo).port })).rejects.toThrow(/Address already in use/);
    await expect(startKafka({ extra: ["num.network.threads=none"] })).rejects.toThrow(/Invalid value none/);
  },
);

test("without Java it says so, and what to do", () => {
  const { status, stderr } = spawnSync(process.execPath, [MAIN, "kafka-local"], {
    env: { PATH: "/nowhere" },
    encoding: "utf8",
  });
  expect(status).toBe(1);
  expect(stderr).toMatch(/no java on the PATH.*JAVA_MISSING.*default-jre-headless/s);
});

test.each([
  { args: ["--port", "0"], said: "--port: has to be 1 to 65535" },
  { args: ["extra"], said: '"extra" is no flag' },
  { args: ["extra", "--nodes", "2"], said: '"extra" is no flag; --nodes: has to be 1 or 3' },
])("kafka-local $args is refused before anything is started", async ({ args, said }) => {
  const { code, out, err } = await runCommand(["kafka-local", ...args], { VIGILANE_DATA: "/nowhere" });
  expect([code, out]).toEqual([2, ""]);
  expect(err).toContain(said);
  expect(err).toMatch(/SETTINGS_INVALID.*kafka-local --help/s);
});
