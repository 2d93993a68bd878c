/** A message whose processing ends the process again and again: when it counts as poison, and how it is put away. */
import type { Context } from "../context.ts";
import type { Batch, SubscribeOptions } from "./topic-log.ts";

/** Strikes at which a message is poison (lifecycle of a message: docs/topics.md). */
export const POISON_STRIKES = 5;

/** `batch` holds that message alone: the caller's own measures, then the dead-letter topic; given back for `againMs` where that fails. */
export async function buryPoison(
  batch: Batch,
  strikes: number,
  { onPoison }: Pick<SubscribeOptions, "onPoison">,
  againMs: number,
  { log }: Pick<Context, "log">,
): Promise<void> {
  const [message] = batch.messages;
  if (message === undefined) return;
  try {
    await onPoison?.(message);
    const reason = { code: "POISON", message: `processing it ended the process ${strikes} times` };
    await batch.deadLetter(message, reason);
    await batch.acknowledge();
    const { topic, shard, position } = message;
    log.error({ topic, shard, position, strikes }, "poison: the message was put on the dead-letter topic");
  } catch (err) {
    log.warn({ err, position: message.position }, "a poisonous message could not be put away, will be tried again");
    await batch.giveBack(againMs).catch(() => {});
  }
}
