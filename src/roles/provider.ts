/** The role `provider`: the simulated vision LLM, for when no key is configured. */
import { join } from "node:path";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import type { Service } from "../lifecycle.ts";
import type { Settings } from "../settings.ts";
import { readSimulatorConfig } from "../simulator/simulator-config.ts";
import { createVisionProvider } from "../simulator/vision-provider.ts";

const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);

/** Listens where `simulatorUrl` says: on loopback when that names it, else on every address. */
export function createProvider(settings: Settings, context: Context): Service & { detail(): string } {
  if (settings.simulatorUrl === undefined) {
    throw new VigilaneError(
      "SETTINGS_INVALID",
      "simulatorUrl says where the simulated provider listens, and is not set",
    );
  }
  const { hostname, port } = new URL(settings.simulatorUrl);
  const config = readSimulatorConfig(settings.simulator);
  const provider = createVisionProvider(
    {
      config,
      host: LOOPBACK.has(hostname) ? (hostname === "[::1]" ? "::1" : "127.0.0.1") : "0.0.0.0",
      port: Number(port || 80),
      folder: join(settings.data, "provider"),
    },
    context,
  );
  return {
    name: provider.name,
    start: () => provider.start(),
    stop: () => provider.stop(),
    detail() {
      const { accounts } = provider.stats();
      const sum = (of: (account: (typeof accounts)[number]) => number) =>
        accounts.reduce((total, a) => total + of(a), 0);
      const refused = sum((a) => Object.values(a.refused).reduce((total, n) => total + n, 0));
      return `simulated: ${sum((a) => a.calls)} calls, ${refused} refused, ${sum((a) => a.inFlight)} in flight`;
    },
  };
}
