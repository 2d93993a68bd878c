/** Where a role finds what it shares with the others. */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { fileURLToPath } from "node:url";
import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";

/** The store's URL; every role but the store itself needs one (the supervisor sets it). */
export function storeUrl(settings: Pick<Settings, "redisUrl">): string {
  if (!settings.redisUrl) {
    throw new VigilaneError("SETTINGS_INVALID", "redisUrl is not set: this role needs a store", {
      remedy: "Set REDIS_URL or --redis-url, or start everything with `npm start`.",
    });
  }
  return settings.redisUrl;
}

/**
 * This process among those of its role, stable over restarts: set by the supervisor, else one a machine. A second process
 * of the same name takes the first one's place; give it another VIGILANE_INSTANCE.
 */
export const instanceName = (role: string) => process.env.VIGILANE_INSTANCE ?? `${role}-${hostname()}`;

/** Whether `vigilane up` has started this process: what it has said itself no role says again. */
export const isStartedByUp = () => process.env.VIGILANE_ASKED_ROLES !== undefined;

/** The live page's build: two folders up from the sources, three from the server's own build. */
export function pageFolder(): string {
  const [ofSources = "", ofBuild = ""] = ["../../dashboard/dist", "../../../dashboard/dist"].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  return existsSync(ofSources) ? ofSources : ofBuild;
}
