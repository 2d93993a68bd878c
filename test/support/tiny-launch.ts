/** Starts tiny-role.mjs instead of a role. */
import { fileURLToPath } from "node:url";
import type { Role } from "../../src/settings.ts";
import type { Launch } from "../../src/supervisor/role-process.ts";

export const tinyLaunch = (role: Role, env: NodeJS.ProcessEnv): Launch => ({
  program: process.execPath,
  args: [fileURLToPath(new URL("./tiny-role.mjs", import.meta.url)), role],
  env,
});
