/**
 * A real redis-server for tests and benches: on a free port, in a folder of its own, as durable as vigilane's own store
 * (append-only file, fsync always), so that a killed one comes back with everything that it acknowledged. The program is
 * VIGILANE_TEST_REDIS_SERVER, else redis-server on the PATH.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TestRedis {
  /** redis://127.0.0.1:<port>, the same after a restart. */
  readonly url: string;
  readonly port: number;
  /** Of the process that runs now; changes with `restart`. */
  readonly pid: number;
  /** Sends the signal; resolves when the process is gone (SIGSTOP and SIGCONT: at once). */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port and folder, ending it first (SIGTERM) where it still runs. */
  restart(): Promise<void>;
  /** Bytes of the append-only file by now: a moment to go back to. What was acknowledged is in it, synced or not. */
  written(): number;
  /**
   * Kills it (SIGKILL) and cuts the append-only file at a moment of before, as a machine does that loses its power before
   * the file was synced: the next `restart` brings back what there was then.
   */
  dieAsOf(written: number): Promise<void>;
  /** Ends it (SIGKILL) and removes its folder, unless the caller brought it. Idempotent. */
  stop(): Promise<void>;
}

export interface TestRedisOptions {
  /** Default true, with appendfsync always. False: nothing outlives the process. */
  appendonly?: boolean;
  /** Default "always". */
  appendfsync?: "always" | "everysec" | "no";
  /** Default: a temporary folder, removed by `stop`. */
  dir?: string;
  /** Default: a free one. */
  port?: number;
  /** Further options of redis-server, such as ["--maxmemory", "10mb"]. */
  args?: readonly string[];
}

/**
 * Resolves when it accepts connections. Called inside a test it stops by itself at the test's end; called in a
 * beforeAll the caller stops it in afterAll. It never outlives this process.
 */
export async function startRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), "vigilane-redis-"));
  let port = options.port ?? (await freePort());
  let child: ChildProcess;
  for (let tries = 1; ; tries += 1) {
    try {
      child = await launch(port, dir, options);
      break;
    } catch (error) {
      if (options.port !== undefined || tries === 5) throw error; // else: somebody took the probed port before us
      port = await freePort();
    }
  }
  const killWithUs = () => void child.kill("SIGKILL");
  process.on("exit", killWithUs);

  const redis: TestRedis = {
    url: `redis://127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid ?? -1;
    },
    async kill(signal) {
      if (ended(child)) return;
      const gone = once(child, "exit");
      child.kill(signal);
      if (signal !== "SIGSTOP" && signal !== "SIGCONT") await gone;
    },
    async restart() {
      await redis.kill("SIGTERM");
      child = await launch(port, dir, options);
    },
    written: () => statSync(appendOnlyFile(dir)).size,
    async dieAsOf(written) {
      await redis.kill("SIGKILL");
      truncateSync(appendOnlyFile(dir), written);
    },
    async stop() {
      await redis.kill("SIGKILL");
      process.off("exit", killWithUs);
      if (options.dir === undefined) rmSync(dir, { recursive: true, force: true });
    },
  };
  await stopAtTestEnd(redis);
  return redis;
}

/** A port of 127.0.0.1 that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  if (address === null || typeof address === "string") throw new Error("the probe has no port");
  return address.port;
}

/** The part that grows: a file of its own in a folder since Redis 7, before that the only one. */
function appendOnlyFile(dir: string): string {
  const parts = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".aof"));
  const growing = parts.filter((name) => name.endsWith(".incr.aof")).sort();
  return join(dir, growing.at(-1) ?? parts[0] ?? "appendonly.aof");
}

async function launch(port: number, dir: string, options: TestRedisOptions): Promise<ChildProcess> {
  const program = process.env.VIGILANE_TEST_REDIS_SERVER ?? "redis-server";
  const append = options.appendonly === false ? "no" : "yes";
  const child = spawn(
    program,
    [
      ...["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--daemonize", "no"],
      ...["--appendonly", append, "--appendfsync", options.appendfsync ?? "always"],
      ...(options.args ?? []),
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let said = "";
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject); // no such program
    child.once("exit", (code) => reject(new Error(`${program} ended at once (${code}):\n${said}`)));
    child.stdout?.on("data", (text: Buffer) => {
      said = (said + text.toString()).slice(-4_000);
      if (/ready to accept connections/i.test(said)) resolve();
    });
  });
  return child;
}

const ended = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

/** Outside of a test (a hook, a bench) there is nothing to hook on to, and the caller stops it. */
async function stopAtTestEnd(redis: TestRedis): Promise<void> {
  if (!process.env.VITEST) return;
  const { onTestFinished } = await import("vitest");
  try {
    onTestFinished(() => redis.stop());
  } catch {
    // not inside a test
  }
}
