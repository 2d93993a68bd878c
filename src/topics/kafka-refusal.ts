/** What is said of brokers that answer, and yet take nothing for a topic. */
import { VigilaneError } from "../errors.ts";
import type { TopicTrouble } from "../events.ts";
import { kafkaErrorType, wordsOf } from "./kafka-client.ts";

const TOO_FEW_COPIES =
  "Bring the brokers back that hold the topic's other copies, or lower the topic's min.insync.replicas.";
const TOO_LARGE = "Raise the topic's max.message.bytes.";

/** By what Kafka calls the error. Of all others the error's own row has the remedy. */
const REMEDIES: Record<string, string> = {
  NOT_ENOUGH_REPLICAS: TOO_FEW_COPIES,
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: TOO_FEW_COPIES,
  MESSAGE_TOO_LARGE: TOO_LARGE,
  RECORD_LIST_TOO_LARGE: TOO_LARGE,
};

/**
 * `error`: of the last send to `topic`, or, where any are named, to these partitions of it alone. What no broker has answered is
 * none of their refusals: one of several is away.
 */
export function refusalToTrouble(
  { topic, partitions }: { topic: string; partitions: readonly number[] },
  error: unknown,
): Omit<TopicTrouble, "sinceMs"> {
  const type = kafkaErrorType(error);
  const place = placeInWords(partitions);
  const why = (code: "BROKER_REFUSED" | "BROKER_AWAY", text: string, remedy?: string) =>
    new VigilaneError(code, `${topic}: ${text}: ${wordsOf(error)}`, { cause: error, ...(remedy && { remedy }) });
  const { code, message, remedy } =
    error instanceof VigilaneError
      ? error
      : type === undefined
        ? why("BROKER_AWAY", `brokers answer, but the one that is to take the messages of ${place} does not`)
        : why("BROKER_REFUSED", `the brokers answer, but take no message for ${place} (${type})`, REMEDIES[type]);
  return { code, message, remedy };
}

function placeInWords(partitions: readonly number[]): string {
  if (partitions.length === 0) return "this topic";
  const sorted = partitions.toSorted((a, b) => a - b);
  const some = sorted.length > 4 ? `${sorted.slice(0, 3).join(", ")} and ${sorted.length - 3} more` : sorted.join(", ");
  return `partition${sorted.length > 1 ? "s" : ""} ${some} of this topic`;
}
