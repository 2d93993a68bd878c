#!/usr/bin/env node
/**
 * Finds a Node that runs vigilane and hands over to it: the running one when it is new enough, else the one that npm
 * installed beside us. Plain JavaScript on purpose: this file must be readable by every Node from 20 on. A published
 * package runs its build (dist), since Node strips types only outside node_modules; a clone runs its sources.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Node 24 is the version that vigilane is built and tested for. */
const LEAST_MAJOR = 24;

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const built = join(root, "dist", "src", "main.js");
const source = join(root, "src", "main.ts");
const inNodeModules = root.split(/[\\/]/).includes("node_modules");
const main = !inNodeModules && existsSync(source) ? source : built;

if (Number(process.versions.node.split(".")[0]) >= LEAST_MAJOR) {
  process.argv[1] = main;
  await import(pathToFileURL(main).href);
} else {
  const node = installedNode();
  if (node) {
    const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: "inherit" });
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
    child.on("exit", (code, signal) => process.exit(code ?? (signal ? 1 : 0)));
  } else {
    console.error(
      `vigilane needs Node ${LEAST_MAJOR} or later; this is ${process.versions.node}, and no other one is installed beside it.\n` +
        "Run `npm install` in the folder of vigilane (it brings its own Node), or install a newer Node.",
    );
    process.exitCode = 1;
  }
}

/** The npm package `node` keeps its program beside us or, for a package among others, one folder up. */
function installedNode() {
  const program = process.platform === "win32" ? "node.exe" : "node";
  const candidates = [join(root, "node_modules"), dirname(root)].flatMap((modules) => [
    join(modules, "node", "bin", program),
    join(modules, ".bin", program),
  ]);
  return candidates.find((path) => existsSync(path));
}
