/** `vigilane kafka-local`: a real Kafka broker (or three) on this machine, until it is told to stop. */
import { z } from "zod";
import { ensureKafkaJars, KAFKA_VERSION } from "../assets/kafka-jars.ts";
import { type LoadedSettings, loadSettings } from "../config.ts";
import { type Context, createLogger, systemClock } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";
import type { DataLock } from "../supervisor/data-lock.ts";
import { kafkaFolder, lockKafka } from "../supervisor/kafka-lock.ts";
import { findJava, startLocalKafka } from "../supervisor/local-kafka.ts";
import { checkPortFree } from "../supervisor/programs.ts";
import { prettyLine } from "../supervisor/terminal.ts";

export const KAFKA_LOCAL_HELP = `Usage: vigilane kafka-local [--nodes 3] [--data DIR] [--port N]

A real Kafka broker without Docker: Apache Kafka ${KAFKA_VERSION} from Maven Central (43 MB, downloaded once into the cache,
checked by sha256), for trying things out and for tests. It needs Java 17 or later, and nothing else. It listens on
127.0.0.1 alone and takes 150 to 200 MB of memory a node. Redpanda is the broker of docker-compose.yml.

  --nodes 1|3        One node (default), or three, each partition on all of them.
  --port N           Port of the first node, 1 to 65535. Default: a free one, which the data folder remembers.
  --data DIR         vigilane's data folder; the broker's is DIR/kafka. Default ./data.
  --cache DIR        Where the download is kept. Default: the system's cache folder + /vigilane.

It prints one line KAFKA_BROKERS=… when it accepts connections. Ctrl-C or SIGTERM stops it within seconds; started again
with the same --data it goes on where it was. A data folder has one broker at a time: a second start there is refused.
`;

const Own = z.object({
  nodes: z.enum(["1", "3"], "has to be 1 or 3").default("1"),
});

/** Resolves with the exit code: 1 when a node ended by itself. */
export async function kafkaLocal(argv: readonly string[]): Promise<number> {
  const loaded = loadSettings(argv, process.env, { nodes: "string" });
  const { settings } = loaded;
  const wishes = wishesOf(loaded);
  const output = { write: (line: string) => void process.stderr.write(`${prettyLine(line.trimEnd(), "kafka")}\n`) };
  const context: Context = { clock: systemClock, log: createLogger("kafka-local", settings.logLevel, output) };
  findJava(); // before the download
  const lock = await lockKafka(settings.data, context);
  try {
    return await runKafka(settings, wishes, lock, context);
  } finally {
    await lock.release();
  }
}

interface Wishes {
  nodes: 1 | 3;
  /** Undefined: a free one, or the one of the last start. */
  port: number | undefined;
}

function wishesOf({ settings, origins, own, operands }: LoadedSettings): Wishes {
  const read = Own.safeParse(own);
  // The setting's default is the gateway's port.
  const port = origins.get("port")?.startsWith("flag") ? settings.port : undefined;
  const faults = [
    ...operands.map((operand) => `${JSON.stringify(operand)} is no flag`),
    ...(read.error?.issues ?? []).map(({ path, message }) => `--${path.join(".")}: ${message}`),
  ];
  if (port === 0) faults.push("--port: has to be 1 to 65535; without it a free one is taken");
  if (faults.length > 0) {
    throw new VigilaneError("SETTINGS_INVALID", faults.join("; "), { remedy: "vigilane kafka-local --help" });
  }
  return { nodes: read.data?.nodes === "3" ? 3 : 1, port };
}

async function runKafka(settings: Settings, wishes: Wishes, lock: DataLock, context: Context): Promise<number> {
  const { nodes, port } = wishes;
  const jars = await ensureKafkaJars(settings.cache, context);
  if (port !== undefined) await checkPortFree(port, "127.0.0.1", "port");
  const asked = new Promise<"asked">((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => resolve("asked"));
  });
  const data = kafkaFolder(settings.data);
  const kafka = await startLocalKafka({ jars, data, nodes, ...(port !== undefined && { port }) }, context);
  const brokers = kafka.brokers.join(",");
  lock.tell({ pid: process.pid, url: brokers });
  process.stdout.write(`KAFKA_BROKERS=${brokers}\n`);
  const how = await Promise.race([asked, ...kafka.nodes.map((node) => node.ended().then(() => node.id))]);
  await kafka.stop();
  if (how === "asked") return 0;
  process.stderr.write(`vigilane: node ${how} of the local Kafka has ended by itself\n`);
  return 1;
}
