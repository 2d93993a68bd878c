/** Builds what a published package needs: the server's JavaScript with the Lua scripts and pages beside it, and the live page. */
import { execFileSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const run = (program, ...args) =>
  execFileSync(process.execPath, [join(root, "node_modules", program), ...args], { cwd: root, stdio: "inherit" });

rmSync(join(root, "dist"), { recursive: true, force: true });
run("typescript/bin/tsc", "-p", "tsconfig.build.json");
cpSync(join(root, "src"), join(root, "dist", "src"), { recursive: true, filter: (path) => !/\.ts$/.test(path) });
run("vite/bin/vite.js", "build", "dashboard");
