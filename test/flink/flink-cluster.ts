/**
 * A Flink without Docker: its jars and our job's by Maven (flink/pom.xml), a JobManager and a TaskManager as Java processes on
 * free ports of 127.0.0.1. For the stream job's own test, run by hand; it needs Maven and a JDK of 17 or later.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { z } from "zod";
import { Leash } from "../../src/supervisor/leash-holder.ts";
import { findJava } from "../../src/supervisor/local-kafka.ts";
import { silent } from "../support/pipeline.ts";
import { freePort } from "../support/redis.ts";

const FLINK = fileURLToPath(new URL("../../flink/", import.meta.url));

/** As in the configuration that Flink's distribution has for Java 17. */
const JAVA_17 = [
  ...["java.base/sun.net.util", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5"].map(
    (name) => `--add-exports=${name}=ALL-UNNAMED`,
  ),
  ...["lang", "net", "io", "nio", "lang.reflect", "text", "time", "util"].map(
    (name) => `--add-opens=java.base/java.${name}=ALL-UNNAMED`,
  ),
  ...["java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch"].map(
    (name) => `--add-opens=java.base/${name}=ALL-UNNAMED`,
  ),
];
const SMALL = ["-Xms32m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
const UP_MS = 120_000;

/** What the tests look at of `GET /jobs/:id`. */
const Job = z.object({
  state: z.string(),
  vertices: z.array(z.object({ status: z.string() })),
});
const Checkpoints = z.object({ counts: z.object({ completed: z.number() }) });
const Failures = z.object({ exceptionHistory: z.object({ entries: z.array(z.unknown()) }) });

export interface FlinkProcess {
  start(): Promise<void>;
  /** Resolves when the process is gone. */
  kill(signal: NodeJS.Signals): Promise<void>;
}

export interface FlinkCluster {
  jobManager: FlinkProcess;
  taskManager: FlinkProcess;
  /** Folder with what the processes said. */
  folder: string;
  /** Submits flink/job.sql; `from`: a savepoint or checkpoint. Resolves with the job's id. */
  submit(environment: Record<string, string>, from?: string): Promise<string>;
  /** Stops the job with a savepoint; resolves with the savepoint's path. */
  stopWithSavepoint(job: string): Promise<string>;
  /** Resolves when the job runs with all its tasks. */
  untilRuns(job: string): Promise<void>;
  /** Resolves when the JobManager has noticed that it does not. */
  untilInterrupted(job: string): Promise<void>;
  /** Resolves when the job has failed once, and is tried again. */
  untilFailed(job: string): Promise<void>;
  /** Resolves when another checkpoint than those before was completed. */
  untilCheckpoint(job: string): Promise<void>;
  /** The newest completed checkpoint that this job left in the folder. */
  latestCheckpoint(job: string): string;
  /** What the TaskManager's Prometheus reporter says of our own counters. */
  counters(): Promise<Record<string, number>>;
  stop(): Promise<void>;
}

/** Compiles the job and fetches Flink into flink/target; quick when both are there. */
export async function buildFlink(): Promise<void> {
  const goals = ["package", "dependency:copy-dependencies"];
  await finished(spawn("mvn", ["-q", "-B", "-s", "maven-settings.xml", ...goals], { cwd: FLINK }), "mvn");
}

export async function startFlink(): Promise<FlinkCluster> {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-flink-"));
  const leash = new Leash(silent);
  await leash.start();
  const [rpc, rest, prometheus, others] = [await freePort(), await freePort(), await freePort(), await freePort()];
  writeConfiguration(folder, { rpc, rest, prometheus });
  const java = (heap: string, main: string, args: readonly string[], environment: Record<string, string> = {}) => {
    const jars = [join(FLINK, "target", "flink", "*")].join(":");
    const child = spawn(findJava(), [`-Xmx${heap}`, ...SMALL, ...JAVA_17, "-cp", jars, main, ...args], {
      env: { ...process.env, FLINK_CONF_DIR: folder, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    if (child.pid !== undefined) leash.hold(child.pid, "role");
    child.once("exit", () => child.pid !== undefined && leash.release(child.pid));
    return child;
  };
  const cli = (args: readonly string[], environment?: Record<string, string>) =>
    finished(java("256m", "org.apache.flink.client.cli.CliFrontend", args, environment), `flink ${args[0]}`);
  const ask = async (path: string): Promise<unknown> => {
    const answer = await fetch(`http://127.0.0.1:${rest}${path}`);
    if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status} ${await answer.text()}`);
    return answer.json();
  };

  const jobManager = processOf(folder, "jobmanager", () =>
    java("384m", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", [
      ...["--configDir", folder],
      ...["-D", `metrics.reporter.prom.port=${others}`],
    ]),
  );
  const taskManager = processOf(folder, "taskmanager", () =>
    java("256m", "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", ["--configDir", folder]),
  );
  const slots = async () => z.object({ "slots-total": z.number() }).parse(await ask("/overview"))["slots-total"];

  const runs = async (job: string) => {
    const { state, vertices } = Job.parse(await ask(`/jobs/${job}`));
    return [state, ...vertices.map(({ status }) => status)].every((one) => one === "RUNNING");
  };

  return {
    folder,
    jobManager: {
      ...jobManager,
      async start() {
        await jobManager.start();
        await until("the JobManager answers", async () => (await slots()) >= 0);
      },
    },
    taskManager: {
      ...taskManager,
      async start() {
        await taskManager.start();
        await until("the TaskManager offers its slots", async () => (await slots()) > 0);
      },
    },
    async submit(environment, from) {
      const restore = from === undefined ? [] : ["-s", from];
      const job = [join(FLINK, "target", "vigilane-flink.jar"), join(FLINK, "job.sql")];
      const folders = {
        FLINK_CHECKPOINTS: pathToFileURL(join(folder, "checkpoints")).href,
        FLINK_SAVEPOINTS: pathToFileURL(join(folder, "savepoints")).href,
      };
      const said = await cli(["run", "-d", ...restore, ...job], { ...folders, ...environment });
      const [, id] = /submitted ([0-9a-f]{32})/.exec(said) ?? [];
      if (!id) throw new Error(`no job was submitted:\n${said}`);
      return id;
    },
    async stopWithSavepoint(job) {
      const said = await cli(["stop", "--savepointPath", pathToFileURL(join(folder, "savepoints")).href, job]);
      const [, path] = /Savepoint completed\. Path: (\S+)/.exec(said) ?? [];
      if (!path) throw new Error(`there is no savepoint:\n${said}`);
      return path;
    },
    untilRuns: (job) => until("the job runs", () => runs(job)),
    untilInterrupted: (job) => until("the job is interrupted", async () => !(await runs(job))),
    untilFailed: (job) =>
      until("the job has failed", async () => {
        const { exceptionHistory } = Failures.parse(await ask(`/jobs/${job}/exceptions`));
        return exceptionHistory.entries.length > 0;
      }),
    async untilCheckpoint(job) {
      const completed = async () => Checkpoints.parse(await ask(`/jobs/${job}/checkpoints`)).counts.completed;
      const before = await completed();
      await until("a checkpoint is completed", async () => (await completed()) > before);
    },
    latestCheckpoint(job) {
      const of = join(folder, "checkpoints", job);
      const complete = readdirSync(of).filter(
        (name) => name.startsWith("chk-") && readdirSync(join(of, name)).includes("_metadata"),
      );
      const newest = complete.toSorted((a, b) => Number(b.slice(4)) - Number(a.slice(4)))[0];
      if (!newest) throw new Error("the job left no checkpoint");
      return pathToFileURL(join(of, newest)).href;
    },
    async counters() {
      const text = await (await fetch(`http://127.0.0.1:${prometheus}/metrics`)).text();
      const counts: Record<string, number> = {};
      for (const [, name = "", value] of text.matchAll(/^flink_\w+?_vigilane_(\w+)\{[^}]*\} (\S+)$/gm))
        counts[name] = (counts[name] ?? 0) + Number(value);
      return counts;
    },
    async stop() {
      await Promise.all([taskManager.kill("SIGKILL"), jobManager.kill("SIGKILL")]);
      await leash.close();
      if (!process.env.VIGILANE_KEEP) rmSync(folder, { recursive: true, force: true });
    },
  };
}

function writeConfiguration(folder: string, ports: { rpc: number; rest: number; prometheus: number }) {
  mkdirSync(join(folder, "tmp"));
  const settings = {
    "jobmanager.rpc.address": "127.0.0.1",
    "jobmanager.rpc.port": ports.rpc,
    "jobmanager.bind-host": "127.0.0.1",
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "rest.port": ports.rest,
    "taskmanager.host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    "taskmanager.numberOfTaskSlots": 3,
    // Flink's own shell script works these out.
    "taskmanager.cpu.cores": 1,
    "taskmanager.memory.task.heap.size": "128m",
    "taskmanager.memory.task.off-heap.size": "0b",
    "taskmanager.memory.network.min": "32m",
    "taskmanager.memory.network.max": "32m",
    "taskmanager.memory.managed.size": "8m",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "64m",
    "taskmanager.memory.jvm-metaspace.size": "128m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
    "heartbeat.interval": "1 s",
    "heartbeat.timeout": "15 s",
    "io.tmp.dirs": join(folder, "tmp"),
    "metrics.reporter.prom.factory.class": "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
    // The TaskManager's, which has our counters. As text: a number would be passed over.
    "metrics.reporter.prom.port": String(ports.prometheus),
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  writeFileSync(join(folder, "config.yaml"), `${lines.join("\n")}\n`);
}

function processOf(folder: string, name: string, launch: () => ChildProcess): FlinkProcess {
  let child: ChildProcess | undefined;
  const running = () => child !== undefined && child.exitCode === null && child.signalCode === null;
  return {
    async start() {
      if (running()) throw new Error(`the ${name} runs already`);
      child = launch();
      const log = createWriteStream(join(folder, `${name}.log`), { flags: "a" });
      child.stdout?.pipe(log, { end: false });
      child.stderr?.pipe(log, { end: false });
    },
    async kill(signal) {
      if (!child || !running()) return;
      const gone = once(child, "exit");
      child.kill(signal);
      await gone;
    },
  };
}

/** Resolves with what it said; rejects with that when it failed. */
async function finished(child: ChildProcess, what: string): Promise<string> {
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text: Buffer) => (said += text.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${what} failed (${code}):\n${said.slice(-6_000)}`);
  return said;
}

/** Asks again until it is so; what fails meanwhile is not there yet. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  let last: unknown;
  for (const end = performance.now() + UP_MS; performance.now() < end; await wait(200)) {
    try {
      if (await holds()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
  }
  throw new Error(`not within ${UP_MS / 1000} s: ${what}`, { cause: last });
}

/** The end of what a process said, for an error. */
export const lastLines = (cluster: FlinkCluster, name: "jobmanager" | "taskmanager") =>
  readFileSync(join(cluster.folder, `${name}.log`), "utf8")
    .split("\n")
    .slice(-40)
    .join("\n");
