/** Asking the store on behalf of a request: it answers in time, or the request is told that the store is away. */
import type { Clock } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { within } from "../lifecycle.ts";
import type { SystemWatch } from "./system-watch.ts";

const STORE_ANSWERS_MS = 2_000;

/** Rejects with STORE_AWAY when the store is known to be away, with TIMED_OUT (`what` in its words) when it is too slow. */
export async function askStore<T>(
  system: Pick<SystemWatch, "state">,
  clock: Clock,
  what: string,
  work: () => Promise<T>,
): Promise<T> {
  if (system.state().health.store === "away") throw new VigilaneError("STORE_AWAY", "the store is away");
  return await within(clock, STORE_ANSWERS_MS, what, work);
}
