/** A shard (partition) that a consumer owns on Kafka: as every line, and where its fetches and its commits stand. */
import { freshMarks, type Marks } from "./kafka-marks.ts";
import { newLine, type ShardLine } from "./shard-line.ts";

export interface KafkaLine extends ShardLine {
  /** The offset from which the next fetch reads. */
  nextOffset: bigint;
  /** What is committed, or on its way to be. */
  marks: Marks;
  /** When a fetch last answered for it, monotonic ms. */
  answeredAtMs: number;
  /** The store's run in which it was begun (read-places.ts). */
  run: string;
}

/** A shard that was just taken; `token`: the taking's own. */
export function newKafkaLine(shard: number, token: string, marks: Marks, nowMs: number, run = ""): KafkaLine {
  const { position, handed, returned, returns } = marks;
  const line = newLine(shard, token, String(position - 1n), String(handed), String(returned), returns);
  return { ...line, nextOffset: position, marks, answeredAtMs: nowMs, run };
}

/** A line of a reader without group. */
export const tailLine = (shard: number, from: bigint, nowMs: number) =>
  newKafkaLine(shard, "", freshMarks(from), nowMs);
