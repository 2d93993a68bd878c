/**
 * A real Kafka broker without Docker, or three: Apache Kafka's own jars in a Java process each, broker and controller in
 * one. For trying things out on one machine and for tests; what a plant runs is Redpanda or Kafka of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import type { Clock, Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { serverProperties } from "./kafka-properties.ts";
import { Leash } from "./leash-holder.ts";
import { findOnPath, freePort } from "./programs.ts";

export interface LocalKafkaOptions {
  /** Folder of ensureKafkaJars. */
  jars: string;
  /** Where node N keeps everything in a folder `node-N`: ports, cluster id and log outlive a stop. */
  data: string;
  /** 1, or 3 (each partition on all three, two of them in step). */
  nodes: 1 | 3;
  /** Port of node 1; the others take free ones. Default: a free one, the same again at the next start. */
  port?: number;
  /** Lines for server.properties, which win over ours. */
  extra?: readonly string[];
  /** For `StorageTool format`, at the first start, such as ["--add-scram", "SCRAM-SHA-512=[…]"]. */
  format?: readonly string[];
}

/** How long a node may take until it accepts connections; 3 to 6 s on an idle machine. */
const START_MS = 90_000;
const STOP_MS = 10_000;
const MEMORY = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

export interface KafkaNode {
  readonly id: number;
  /** host:port for clients. */
  readonly address: string;
  readonly pid: number | undefined;
  /** Starts it on its ports and data; resolves when it accepts connections. */
  start(): Promise<void>;
  /** Sends the signal; resolves when the process is gone (SIGSTOP and SIGCONT: at once). */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** SIGTERM, and SIGKILL when that takes longer than 10 s. Idempotent. */
  stop(): Promise<void>;
  /** Resolves when the process that runs now has ended. */
  ended(): Promise<void>;
}

export interface LocalKafka {
  /** All addresses, as KAFKA_BROKERS wants them. */
  readonly brokers: string[];
  readonly nodes: readonly KafkaNode[];
  stop(): Promise<void>;
}

/** The path of `java`. Throws JAVA_MISSING. */
export function findJava(env: NodeJS.ProcessEnv = process.env): string {
  const home = env.JAVA_HOME ? join(env.JAVA_HOME, "bin", process.platform === "win32" ? "java.exe" : "java") : "";
  if (home && existsSync(home)) return home;
  const found = findOnPath(["java"], env);
  if (found) return found;
  throw new VigilaneError("JAVA_MISSING", "there is no java on the PATH, and no JAVA_HOME");
}

/** Resolves when every node accepts connections; a node that was formatted before keeps its data, id and ports. */
export async function startLocalKafka(options: LocalKafkaOptions, context: Context): Promise<LocalKafka> {
  const { clock } = context;
  const java = findJava();
  const plan = await planCluster(options);
  const leash = new Leash(context);
  const place: Place = { java, leash, clock, options };
  const nodes = plan.nodes.map((ports, i) => localNode(place, i + 1, ports));
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await leash.close();
  };
  try {
    await leash.start();
    await Promise.all(
      plan.nodes.map(async (_, i) => {
        await format(place, plan, i + 1);
        await nodes[i]?.start();
      }),
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return { brokers: nodes.map((node) => node.address), nodes, stop };
}

interface Place {
  java: string;
  /** Ends what is left of the nodes when this process is killed. */
  leash: Leash;
  clock: Clock;
  options: LocalKafkaOptions;
}

interface Ports {
  client: number;
  controller: number;
}

interface Plan {
  clusterId: string;
  nodes: Ports[];
}

/** The plan of an earlier start, or a new one. */
async function planCluster({ data, nodes, port }: LocalKafkaOptions): Promise<Plan> {
  const file = join(data, "cluster.json");
  await mkdir(data, { recursive: true });
  if (existsSync(file)) {
    const plan = JSON.parse(await readFile(file, "utf8")) as Plan;
    if (plan.nodes.length !== nodes) {
      throw new VigilaneError("SETTINGS_INVALID", `${data} holds a cluster of ${plan.nodes.length}, not of ${nodes}`, {
        remedy: "Give another --data folder, or the same --nodes as before.",
      });
    }
    const [first] = plan.nodes;
    if (first && port !== undefined) first.client = port;
    return plan;
  }
  const ports: Ports[] = [];
  for (let i = 0; i < nodes; i += 1) {
    const client = i === 0 && port !== undefined ? port : await freePort();
    ports.push({ client, controller: await freePort() });
  }
  const plan = { clusterId: randomBytes(16).toString("base64url"), nodes: ports };
  await writeFile(file, JSON.stringify(plan));
  return plan;
}

const folderOf = (options: LocalKafkaOptions, id: number) => join(options.data, `node-${id}`);
const propertiesOf = (options: LocalKafkaOptions, id: number) => join(folderOf(options, id), "server.properties");

async function format(place: Place, plan: Plan, id: number): Promise<void> {
  const { options } = place;
  const folder = folderOf(options, id);
  await mkdir(folder, { recursive: true });
  await writeFile(propertiesOf(options, id), serverProperties(id, plan.nodes, folder, options.extra ?? []));
  if (existsSync(join(folder, "log", "meta.properties"))) return;
  // With "=": one id in 64 begins with a dash.
  const args = ["format", `--cluster-id=${plan.clusterId}`, "-c", propertiesOf(options, id), ...(options.format ?? [])];
  const child = launch(place, "kafka.tools.StorageTool", args);
  const [code] = (await once(child.process, "exit")) as [number | null];
  if (code !== 0) throw failed(`node ${id} could not be formatted (${code})`, child.said());
}

function localNode(place: Place, id: number, ports: Ports): KafkaNode {
  const { clock } = place;
  let child: ReturnType<typeof launch> | undefined;
  const running = () => child !== undefined && child.process.exitCode === null && child.process.signalCode === null;
  const ended = async () => {
    if (child && running()) await once(child.process, "exit");
  };
  const node: KafkaNode = {
    id,
    address: `127.0.0.1:${ports.client}`,
    get pid() {
      return child?.process.pid;
    },
    ended,
    async start() {
      if (running()) return;
      const begun = launch(place, "kafka.Kafka", [propertiesOf(place.options, id)]);
      child = begun;
      const died = once(begun.process, "exit").then(() => {
        throw failed(`node ${id} ended at its start`, begun.said());
      });
      died.catch(() => {});
      await Promise.race([untilAccepts(ports.client, id, begun, clock), died]);
    },
    async kill(signal) {
      if (!child || !running()) return;
      const gone = once(child.process, "exit");
      child.process.kill(signal);
      if (signal !== "SIGSTOP" && signal !== "SIGCONT") await gone;
    },
    async stop() {
      if (!running()) return;
      const enough = new AbortController();
      const gone = node.kill("SIGTERM").finally(() => enough.abort());
      await clock.sleep(STOP_MS, enough.signal).catch(() => {});
      if (running()) await node.kill("SIGKILL");
      await gone;
    },
  };
  return node;
}

/** Java with our jars, in a process group of its own; it never outlives this process, and its last lines are kept for an error. */
function launch({ java, leash, options }: Place, main: string, args: readonly string[]) {
  const child: ChildProcess = spawn(java, [...MEMORY, "-cp", join(options.jars, "*"), main, ...args], {
    detached: true,
    windowsHide: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  let started = false;
  const keep = (text: Buffer) => {
    const all = said + text.toString();
    // Looked for in all that it says: much more may follow at once.
    started ||= /Kafka Server started/.test(all);
    said = all.slice(-16_000);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  child.on("error", (error) => keep(Buffer.from(String(error))));
  const { pid } = child;
  if (pid !== undefined) {
    leash.hold(pid, "store");
    child.once("exit", () => leash.release(pid));
  }
  return { process: child, said: () => said, started: () => started };
}

async function untilAccepts(port: number, id: number, begun: ReturnType<typeof launch>, clock: Clock) {
  for (const until = clock.monotonicMs() + START_MS; clock.monotonicMs() < until; await clock.sleep(100)) {
    if (begun.started() && (await accepts(port))) return;
  }
  throw failed(`node ${id} did not accept connections within ${START_MS / 1000} s`, begun.said());
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** With what Java said of the fault, and not with all that it says of its end; without such lines, its last ones. */
function failed(what: string, said: string): VigilaneError {
  const lines = said.trim().split("\n");
  const faults = lines.filter((line) =>
    /\b(?:ERROR|FATAL)\b|^Caused by|^Exception in thread|^[\w.]+(?:Exception|Error)\b/.test(line),
  );
  const telling = faults.length > 0 ? faults.slice(0, 12) : lines.slice(-12);
  return new VigilaneError("BROKER_FAILED", `the local Kafka's ${what}:\n${telling.join("\n")}`);
}
