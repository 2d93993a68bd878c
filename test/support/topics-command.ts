/** `vigilane topics …` and `vigilane dlq …` as processes: what they say on which stream, and how they end. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface Said {
  code: number | null;
  out: string;
  err: string;
}

/** `env` is all that it has besides PATH; the working folder is this repository's. */
export function runCommand(args: readonly string[], env: Record<string, string>): Promise<Said> {
  return new Promise((resolve) => {
    const { PATH = "", NODE_COMPILE_CACHE = "" } = process.env;
    const child = spawn(process.execPath, [MAIN, ...args], {
      env: { PATH, NODE_COMPILE_CACHE, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const said: Said = { code: null, out: "", err: "" };
    child.stdout.on("data", (chunk: Buffer) => (said.out += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (said.err += chunk.toString()));
    child.on("close", (code) => resolve({ ...said, code }));
  });
}

/** The cells of a table's line that has this text. */
export const rowOf = (said: string, text: string) =>
  said
    .split("\n")
    .find((line) => line.includes(text))
    ?.trim()
    .split(/ {2,}/);
