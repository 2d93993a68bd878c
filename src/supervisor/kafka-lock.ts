/**
 * One local Kafka a data folder: a second one would start on the ports and the log of the broker that runs, whose controller
 * does not survive that.
 */
import { join } from "node:path";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { type DataLock, lockFolder } from "./data-lock.ts";

/** The local Kafka's folder in vigilane's data folder. */
export const kafkaFolder = (data: string) => join(data, "kafka");

/** To be held from before anything is written there until the last node is gone. Rejects with ALREADY_RUNNING. */
export function lockKafka(data: string, context: Context): Promise<DataLock> {
  const folder = kafkaFolder(data);
  return lockFolder(
    folder,
    ({ pid, url }) =>
      new VigilaneError(
        "ALREADY_RUNNING",
        `a broker ${url ? "runs" : "starts"} here already${url ? ` at ${url}` : ""} (process ${pid}, folder ${folder})`,
        { remedy: "Use it (KAFKA_BROKERS), or stop it, or give this one another --data folder." },
      ),
    context,
  );
}

/** Rejects with ALREADY_RUNNING where somebody's broker runs there at this moment. */
export async function refuseRunningKafka(data: string, context: Context): Promise<void> {
  await (await lockKafka(data, context)).release();
}
