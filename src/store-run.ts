/**
 * The store's run: which process of it answers. One that came back may have forgotten its newest writes, unless it syncs
 * each of them (`appendfsync always`); whoever keeps anything outside of it that belongs to those writes is told here.
 */
import type { Redis } from "ioredis";
import type { Context } from "./context.ts";
import { checkStore } from "./store.ts";

/** A repair that fails (the store is full, say) is tried again so often, at such intervals. */
const TRIES = 40;
const RETRY_MS = 250;

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
  const look = async () => {
    const before = run;
    run = await runOf(redis);
    if (run === before || run === "") return;
    for (let tries = 1; !signal.aborted; tries += 1) {
      try {
        return await onForgot(run);
      } catch (err) {
        log.warn({ err, tries }, "what the store may have forgotten could not be put right");
        if (tries === TRIES) return;
        await clock.sleep(RETRY_MS, signal).catch(() => {});
      }
    }
  };
  const onReady = () => void look().catch(() => {}); // away again: the next "ready" asks again
  redis.on("ready", onReady);
  signal.addEventListener("abort", () => redis.off("ready", onReady), { once: true });
  return { id: () => run };
}

async function runOf(redis: Redis): Promise<string> {
  const { fsync, runId } = await checkStore(redis);
  return fsync === "always" ? "" : runId;
}
