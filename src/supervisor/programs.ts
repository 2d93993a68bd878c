/** Finding programs, ports and our own files beside us. */
import { accessSync, constants, statSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { VigilaneError } from "../errors.ts";

/** Path of the first of `names` that is a program on the PATH; undefined: none is. */
export function findOnPath(names: readonly string[], env: NodeJS.ProcessEnv = process.env): string | undefined {
  const folders = (env.PATH ?? env.Path ?? "").split(delimiter).filter(Boolean);
  const endings = process.platform === "win32" ? (env.PATHEXT ?? ".EXE;.CMD;.BAT").split(";") : [""];
  for (const name of names) {
    for (const folder of folders) {
      for (const ending of endings) {
        const path = join(folder, name + ending);
        if (isProgram(path)) return path;
      }
    }
  }
  return undefined;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** A port of 127.0.0.1 that nobody listens on at this moment. */
export function freePort(): Promise<number> {
  return tryPort(0, "127.0.0.1");
}

/** Rejects with PORT_IN_USE, naming the setting, when the address cannot be listened on. */
export async function checkPortFree(port: number, host: string, setting: string): Promise<void> {
  try {
    await tryPort(port, host);
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    const code = (error as NodeJS.ErrnoException).code;
    const what =
      code === "EADDRINUSE"
        ? "is in use"
        : code === "EADDRNOTAVAIL"
          ? "is no address of this machine"
          : `cannot be listened on: ${cause}`;
    throw new VigilaneError("PORT_IN_USE", `${host}:${port} (setting ${setting}) ${what}`);
  }
}

function tryPort(port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen({ port, host, exclusive: true }, () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : port));
    });
  });
}

/**
 * Path of a script of ours, given relative to `from` (an import.meta.url) and without its ending: `.ts` in the sources,
 * `.js` in the build.
 */
export function ourScript(from: string, relative: string): string {
  const ending = /\.[cm]?[jt]s$/.exec(new URL(from).pathname)?.[0] ?? ".js";
  return fileURLToPath(new URL(relative + ending, from));
}
