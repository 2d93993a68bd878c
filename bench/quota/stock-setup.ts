/** What both ends of the plain BullMQ set-up must agree on. */
import { z } from "zod";

export const StockSetup = z.object({
  redisUrl: z.string(),
  providerUrl: z.string(),
  /** data: URL of the crop that every call shows. */
  picture: z.string(),
  accounts: z.array(z.object({ id: z.string(), secret: z.string(), perSecond: z.number() })),
});
export type StockSetup = z.infer<typeof StockSetup>;

export const STOCK = {
  queueOf: (account: string) => `stock-${account}`,
  /** As BullMQ's guide on retrying failed jobs has it. */
  jobOptions: {
    attempts: 5,
    backoff: { type: "exponential", delay: 1_000 },
    removeOnComplete: true,
    removeOnFail: true,
  },
} as const;
