/**
 * A consumer in a process of its own, so that tests can kill and stop it. It tells each batch to its parent and does
 * what the parent answers; with `dieOn` it kills itself when it meets that value, as a crash of native code would.
 */
import { appendFileSync } from "node:fs";
import { pino } from "pino";
import { systemClock } from "../../src/context.ts";
import { errorCode } from "../../src/errors.ts";
import type { Batch } from "../../src/topics/topic-log.ts";
import { openTopicLog, type TopicLogSpec } from "./open-topic-log.ts";

export interface ConsumerOrder {
  spec: TopicLogSpec;
  topic: string;
  group: string;
  consumer: string;
  maxMessages?: number;
  /** Acknowledge every batch unasked. */
  acknowledge: boolean;
  /** Asks for the next batch without waiting for the end of the one before, as bridges do. */
  asksAhead?: boolean;
  /** File to which each message that was processed is added as a line, before it is acknowledged; outlives the process. */
  ledger: string;
  /** A value (UTF-8) that ends this process with SIGKILL when it is handed out. */
  dieOn?: string;
}

export interface ToldMessage {
  shard: number;
  position: string;
  key: string;
  valueBase64: string;
  deliveries: number;
}

/** To the parent. */
export type Told =
  | { kind: "batch"; messages: ToldMessage[] }
  | { kind: "acknowledged"; messages: ToldMessage[] }
  | { kind: "refused"; code: string }
  | { kind: "poison"; message: ToldMessage };

/** From the parent: what to do with the batch that is out. */
export type Order = "acknowledge";

const order = JSON.parse(process.argv[2] ?? "{}") as ConsumerOrder;
const tell = (told: Told) => void process.send?.(told);
const log = openTopicLog(order.spec, { clock: systemClock, log: pino({ level: "silent" }) });
await log.start();
process.on("disconnect", () => process.exit(0));

const subscription = log.subscribe(order.topic, {
  group: order.group,
  consumer: order.consumer,
  ...(order.maxMessages === undefined ? {} : { maxMessages: order.maxMessages }),
  onPoison: async (message) => tell({ kind: "poison", message: toTold(message) }),
});
for await (const batch of subscription.batches()) {
  if (batch.messages.some((message) => message.value.toString() === order.dieOn)) process.kill(process.pid, "SIGKILL");
  appendFileSync(order.ledger, batch.messages.map((message) => `${JSON.stringify(toTold(message))}\n`).join(""));
  tell({ kind: "batch", messages: batch.messages.map(toTold) });
  if (!order.acknowledge) await new Promise((resolve) => process.once("message", resolve));
  const ended = batch.acknowledge().then(
    () => tell({ kind: "acknowledged", messages: batch.messages.map(toTold) }),
    (error: unknown) => tell({ kind: "refused", code: errorCode(error) ?? String(error) }),
  );
  if (!order.asksAhead) await ended;
}

function toTold({ shard, position, key, value, deliveries }: Batch["messages"][number]): ToldMessage {
  return { shard, position, key, valueBase64: value.toString("base64"), deliveries };
}
