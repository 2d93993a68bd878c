/** What the start says of what was decided for the user: where the page is, what the day's cap counts. */
import { join } from "node:path";
import { readToken } from "../gateway/auth.ts";
import { DEFAULT_CALLS_PER_DAY, type KeyGroup } from "../queues/key-groups.ts";
import type { Settings } from "../settings.ts";
import type { StoreFacts } from "../store.ts";

/** Where a browser on this machine finds the page; an address of all interfaces is none to go to. */
export function pageUrl({ host, port }: Pick<Settings, "host" | "port">): string {
  const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  return `http://${name}:${port}`;
}

/**
 * The one line with the page's address. The token is in it only for a person at a terminal, and only the one that we made:
 * lines for machines are collected, and a token of the user's own is known to him and perhaps in use elsewhere.
 */
export function readyLine(
  settings: Pick<Settings, "host" | "port" | "token" | "data" | "logFormat">,
  gatewayUrl: string,
): string {
  if (settings.token !== undefined) {
    return `vigilane is ready: ${gatewayUrl}/ (open it with ?token= and the token that you set, VIGILANE_TOKEN)`;
  }
  const token = readToken(settings);
  if (settings.logFormat === "pretty") return `vigilane is ready: ${gatewayUrl}/?token=${token}`;
  return `vigilane is ready: ${gatewayUrl}/ (open it with ?token= and the token in ${join(settings.data, "token")})`;
}

/** What is to be known of the cap on calls a day over real keys; none where nothing is capped or everything is as expected. */
export function dayCapWarnings(
  { callsPerDay }: Pick<Settings, "callsPerDay">,
  groups: readonly Pick<KeyGroup, "simulated">[],
  store: Pick<StoreFacts, "inMemory"> | undefined,
): string[] {
  if (callsPerDay === 0 || groups.every((group) => group.simulated)) return [];
  const warnings: string[] = [];
  if (callsPerDay === undefined) {
    warnings.push(
      `Real keys: at most ${DEFAULT_CALLS_PER_DAY} calls a day until you set VIGILANE_CALLS_PER_DAY (0: no cap).`,
    );
  }
  if (store?.inMemory) {
    warnings.push(
      `Real keys, and the store is in memory: the day's count of calls begins anew at each start, so that the cap of ${callsPerDay ?? DEFAULT_CALLS_PER_DAY} calls holds for one run and not for the day (and \`vigilane try\` is never counted). A Redis with append-only file keeps the count.`,
    );
  }
  return warnings;
}
