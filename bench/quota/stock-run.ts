/** One run of the plain BullMQ set-up under a load: arrivals go to the accounts' queues in turn. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { z } from "zod";
import { freePort, startRedis } from "../../test/support/redis.ts";
import { drawArrivals, offerOpenLoop } from "./arrivals.ts";
import { aCrop, type BenchGroup, quotaOf, secretOf } from "./engine.ts";
import { startProvider } from "./provider-process.ts";
import { p95 } from "./report.ts";
import { startRole } from "./role-process.ts";
import { type RunFigures, type RunOptions, sleep } from "./run-at-load.ts";
import { STOCK, type StockSetup } from "./stock-setup.ts";

const Answered = z.object({ dueMs: z.number(), startedMs: z.number() });

export type StockFigures = Pick<
  RunFigures,
  "goodput" | "refusedShare" | "waitP95Ms" | "assessedShare" | "offeredLateMs"
>;

/** Waits of jobs that were not answered until `seconds` after the measured time count as what they had waited by then. */
export async function runStock(
  groups: readonly BenchGroup[],
  simulator: object,
  run: RunOptions,
): Promise<StockFigures> {
  const releases: (() => unknown)[] = [];
  try {
    const data = mkdtempSync(join(tmpdir(), "vigilane-bench-"));
    releases.push(() => rmSync(data, { recursive: true, force: true }));
    const store = await startRedis();
    releases.push(() => store.stop());
    const file = join(data, "simulator.yaml");
    const accounts = groups.map(({ id, windows }) => ({ id, keys: [secretOf(id)], windows }));
    writeFileSync(file, JSON.stringify({ ...simulator, accounts }));
    const providerUrl = `http://127.0.0.1:${await freePort()}/v1`;
    const env = { VIGILANE_DATA: data, VIGILANE_SIMULATOR: file, VIGILANE_SIMULATOR_URL: providerUrl };
    const provider = await startProvider(providerUrl, env);
    releases.push(() => provider.stop());
    const setup: StockSetup = {
      redisUrl: store.url,
      providerUrl,
      picture: `data:image/jpeg;base64,${(await aCrop()).toString("base64")}`,
      accounts: groups.map(({ id, windows }) => ({
        id,
        secret: secretOf(id),
        perSecond: windows.requestsPerSecond ?? 1,
      })),
    };
    const waitOf = new Map<number, number>();
    const workers = await startRole("stock workers", {
      env: { STOCK_SETUP: JSON.stringify(setup) },
      program: new URL("./stock-workers.ts", import.meta.url),
      onMessage(message) {
        const { dueMs, startedMs } = Answered.parse(message);
        waitOf.set(dueMs, startedMs - dueMs);
      },
    });
    releases.push(() => workers.stop());
    const connection = new Redis(store.url, { maxRetriesPerRequest: null });
    releases.push(() => connection.disconnect());
    const queues = groups.map(({ id }) => new Queue(STOCK.queueOf(id), { connection }));

    const perSecond = quotaOf(groups) * run.load;
    const arrivalsMs = drawArrivals({ perSecond, seconds: run.warmUpSeconds + run.seconds + 2, seed: run.seed });
    const offering = offerOpenLoop(arrivalsMs, (nth, dueMs) => {
      queues[nth % queues.length]?.add("assess", { dueMs }, STOCK.jobOptions).catch((error) => console.error(error));
    });
    const [fromMs, toMs] = [run.warmUpSeconds * 1_000, (run.warmUpSeconds + run.seconds) * 1_000];
    const until = (afterMs: number) => sleep(offering.startedAtMs + afterMs - Date.now());
    await until(fromMs);
    const before = await provider.seen();
    await until(toMs);
    const after = await provider.seen();
    await offering.done;
    await until(toMs + run.seconds * 1_000);
    const nowMs = Date.now();
    const due = arrivalsMs.filter((ms) => ms >= fromMs && ms < toMs).map((ms) => offering.startedAtMs + ms);
    const seconds = (after.atMs - before.atMs) / 1_000;
    return {
      goodput: (after.ok - before.ok) / seconds / quotaOf(groups),
      refusedShare: (after.refusedForRate - before.refusedForRate) / (after.calls - before.calls),
      waitP95Ms: p95(due.map((ms) => waitOf.get(ms) ?? nowMs - ms)),
      assessedShare: due.filter((ms) => waitOf.has(ms)).length / due.length,
      offeredLateMs: Math.round(offering.offered().latestMs),
    };
  } finally {
    for (const release of releases.reverse()) await release();
  }
}
