/** One process of vigilane, as `vigilane <role>` starts it. It ends when this process does. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface RoleProcess {
  readonly pid: number;
  stop(): Promise<void>;
}

export interface RoleProcessOptions {
  env: Record<string, string>;
  /** Modules that Node loads before it. Default none. */
  imports?: readonly URL[];
  /** The program. Default: vigilane's own, with the role as its command. */
  program?: URL;
  onMessage?: (message: unknown) => void;
}

/** Resolves when the process has said that it is ready; rejects with its words when it ends before. */
export async function startRole(role: string, options: RoleProcessOptions): Promise<RoleProcess> {
  const imports = (options.imports ?? []).flatMap((url) => ["--import", url.href]);
  const program = options.program ? [fileURLToPath(options.program)] : [MAIN, role];
  const child = spawn(process.execPath, [...imports, ...program], {
    env: { ...process.env, VIGILANE_LOG_LEVEL: "warn", ...options.env },
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4_000)));
  await new Promise<void>((resolve, reject) => {
    child.on("message", (message) => {
      if (typeof message === "object" && "ready" in message) resolve();
      else options.onMessage?.(message);
    });
    child.once("exit", (code) => reject(new Error(`${role} ended with ${code} before it was ready:\n${said}`)));
  });
  return {
    pid: child.pid ?? -1,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}
