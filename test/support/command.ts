/** The command as its users run it, as a process: its lines, its end. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { Report } from "../../src/supervisor/report.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MAIN = join(ROOT, "src", "main.ts");

/** An empty folder, removed with the test. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "vigilane-whole-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}

/** What `--report` has written. */
export const readReport = (path: string) => Report.parse(JSON.parse(readFileSync(path, "utf8")));

export interface Run {
  child: ChildProcess;
  lines: string[];
  /** Resolves at the first line (there or to come) that matches; rejects when the process ends before. */
  said(pattern: RegExp): Promise<string>;
  ended: Promise<number | null>;
}

/** The command from these sources; ended with the test. */
export function vigilane(args: string[], env: NodeJS.ProcessEnv = {}): Run {
  return start(process.execPath, [MAIN, ...args], ROOT, env);
}

export function start(program: string, args: string[], cwd: string, env: NodeJS.ProcessEnv): Run {
  const child = spawn(program, args, { cwd, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGTERM");
    await gone;
  });
  const lines: string[] = [];
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(line);
      for (const listener of listeners) listener();
    });
  }
  const ended = once(child, "close").then(() => {
    for (const listener of listeners) listener();
    return child.exitCode;
  });
  const said = (pattern: RegExp) =>
    new Promise<string>((resolve, reject) => {
      const look = () => {
        const line = lines.find((l) => pattern.test(l));
        if (line !== undefined) resolve(line);
        else if (child.exitCode !== null) reject(new Error(`it ended without saying ${pattern}:\n${lines.join("\n")}`));
        else return;
        listeners.delete(look);
      };
      listeners.add(look);
      look();
    });
  return { child, lines, said, ended };
}
