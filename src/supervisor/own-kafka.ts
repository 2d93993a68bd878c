/**
 * The local Kafka of `up --kafka local`: `vigilane kafka-local` as a process of its own, kept alive like a role. Its port
 * and its messages lie in the data folder, so that it comes back as what it was.
 */
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";
import { Leash } from "./leash-holder.ts";
import { findJava } from "./local-kafka.ts";
import { ourScript } from "./programs.ts";
import { type Launch, RoleProcess } from "./role-process.ts";

export interface OwnKafka {
  readonly brokers: readonly string[];
  readonly restarts: number;
  /** After those who use it. Resolves when it is gone. */
  stop(): Promise<void>;
}

export interface OwnKafkaEvents {
  /** A line that it wrote. */
  onLine(line: string): void;
  /** It cannot be kept alive. */
  onFailed(error: VigilaneError): void;
}

/** An orderly stop of a broker; SIGKILL follows, which loses nothing that it acknowledged. */
const STOP_MS = 3_000;
const READY = /^KAFKA_BROKERS=(\S+)$/;

/** What cannot be, before anything is started: SETTINGS_INVALID where brokers are named as well, JAVA_MISSING. */
export function refuseOwnKafka({ kafka, kafkaBrokers }: Pick<Settings, "kafka" | "kafkaBrokers">): void {
  if (kafka !== "local") return;
  if (kafkaBrokers.length === 0) return void findJava();
  throw new VigilaneError("SETTINGS_INVALID", `kafka = local, and kafkaBrokers = ${kafkaBrokers.join(",")}`, {
    remedy: "Leave out one of them: either a broker is started here, or those are used.",
  });
}

/** Resolves when it accepts connections. Throws ROLE_KEEPS_DYING with the last lines of a `kafka-local` that does not start. */
export async function startOwnKafka(
  settings: Pick<Settings, "data" | "cache" | "logLevel">,
  events: OwnKafkaEvents,
  context: Context,
): Promise<OwnKafka> {
  const leash = new Leash(context);
  let brokers: string[] = [];
  const child = new RoleProcess(
    "kafka",
    "kafka-1",
    launchOf(settings),
    {
      onLine(line) {
        const found = READY.exec(line)?.[1];
        if (found === undefined) events.onLine(line);
        else brokers = found.split(",");
      },
      onBorn: (pid) => leash.hold(pid, "store"),
      onDeath: ({ pid }) => leash.release(pid),
      onGivenUp: events.onFailed,
    },
    context,
  );
  const stop = async () => {
    await child.stop(STOP_MS);
    await leash.close();
  };
  try {
    await leash.start();
    await child.start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    brokers,
    get restarts() {
      return child.restarts;
    },
    stop,
  };
}

function launchOf({ data, cache, logLevel }: Pick<Settings, "data" | "cache" | "logLevel">): Launch {
  const args = ["kafka-local", "--data", data, "--cache", cache, "--log-level", logLevel];
  return {
    program: process.execPath,
    args: [ourScript(import.meta.url, "../main"), ...args],
    env: process.env,
    readyLine: READY,
  };
}
