/**
 * A plain BullMQ set-up, as its documentation shows it: one queue an account, a Worker with a limiter, a call that throws
 * when it is refused, attempts with a back-off. A process of its own; the environment says where Redis and provider are.
 * It sends { dueMs, startedMs } (wall clock) for each call that was answered.
 */
import { type Job, Worker } from "bullmq";
import { Redis } from "ioredis";
import { createVisionClient } from "../../src/processors/vision-client.ts";
import { silent } from "../../test/support/pipeline.ts";
import { STOCK, StockSetup } from "./stock-setup.ts";

const { redisUrl, providerUrl, picture, accounts } = StockSetup.parse(JSON.parse(process.env.STOCK_SETUP ?? ""));
const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
const messages = [
  {
    role: "user" as const,
    content: [
      { type: "text" as const, text: "Answer with JSON." },
      { type: "image_url" as const, image_url: { url: picture } },
    ],
  },
];

const workers = accounts.map(({ id, secret, perSecond }) => {
  const client = createVisionClient({ baseUrl: providerUrl, secret, model: "any", timeoutMs: 8_000 }, silent);
  const call = async ({ data: { dueMs } }: Job<{ dueMs: number }>) => {
    const startedMs = Date.now();
    await client.assess({ messages });
    process.send?.({ dueMs, startedMs });
  };
  return new Worker(STOCK.queueOf(id), call, {
    connection,
    concurrency: 100,
    limiter: { max: perSecond, duration: 1_000 },
  });
});
for (const worker of workers) worker.on("error", (error) => console.error(error));
await Promise.all(workers.map((worker) => worker.waitUntilReady()));
process.send?.({ ready: true });
const end = () => process.exit(0);
process.on("SIGTERM", end);
process.on("disconnect", end);
