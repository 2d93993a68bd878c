/**
 * The store's run: which process of it answers. One that came back may have forgotten its newest writes, unless it syncs
 * each of them (`appendfsync always`); whoever keeps anything outside of it that belongs to those writes is told here.
 */
import type { Redis } from "ioredis";
import type { Context } from "./context.ts";
import { checkStore } from "./store.ts";

/**
 * A repair that fails (the store is full, say) is tried again at such intervals: so many times, and then at intervals that
 * double, until it succeeds. Nothing else would tell the store what it must know.
 */
const RETRY_MS = 250;
const QUICK_TRIES = 40;
const SLOWEST_RETRY_MS = 10_000;

export interface StoreRun {
  /** The present run's id; "" where a restart of the store loses nothing. */
  id(): string;
}

/**
 * Calls `onForgot` with the new run's id when the connection finds the store in another run than before, until `signal`
 * aborts. By then commands that waited for the store's return may have run: what must not run too early is fenced in the store.
 */
export async function followRun(
  redis: Redis,
  { clock, log }: Context,
  signal: AbortSignal,
  onForgot: (run: string) => Promise<void> | void,
): Promise<StoreRun> {
  let run = await runOf(redis);
  let newest = 0;
  const look = async () => {
    const before = run;
    run = await runOf(redis);
    if (run === before || run === "") return;
    newest += 1;
    const mine = newest; // of a later run the later look takes care
    for (let tries = 1; !signal.aborted && mine === newest; tries += 1) {
      try {
        return await onForgot(run);
      } catch (err) {
        log.warn({ err, tries }, "what the store may have forgotten could not be put right");
        await clock.sleep(retryAfterMs(tries), signal).catch(() => {});
      }
    }
  };
  const onReady = () => void look().catch(() => {}); // away again: the next "ready" asks again
  redis.on("ready", onReady);
  signal.addEventListener("abort", () => redis.off("ready", onReady), { once: true });
  return { id: () => run };
}

const retryAfterMs = (tries: number) => Math.min(SLOWEST_RETRY_MS, RETRY_MS * 2 ** Math.max(0, tries - QUICK_TRIES));

async function runOf(redis: Redis): Promise<string> {
  const { fsync, runId } = await checkStore(redis);
  return fsync === "always" ? "" : runId;
}
