/**
 * How a topic's batches lie in the broker's log: asked by a fetch of our own, since every client hands out what it has already
 * unpacked. Kafka's protocol, Fetch version 4: https://kafka.apache.org/protocol#The_Messages_Fetch
 */
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { Kafka, logLevel } from "kafkajs";

/** By the lowest three bits of a batch's attributes. */
const CODECS = ["none", "gzip", "snappy", "lz4", "zstd"];
const FETCH = 1;
const VERSION = 4;
const CONTROL_BATCH = 0x20;
const MOST_BYTES = 64 * 1024 * 1024;
/** A new partition's leader may not know yet that it is (unknown, no leader, not the leader). */
const NOT_YET = [3, 5, 6];
const READY_WITHIN_MS = 10_000;

/** The codec of each batch with messages, in no order. */
export async function storedCodecs(brokers: readonly string[], topic: string): Promise<string[]> {
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  const nodes = (await admin.describeCluster()).brokers;
  await admin.disconnect();
  const partitions = topics[0]?.partitions ?? [];
  const found = await Promise.all(
    partitions.map(async ({ partitionId, leader }) => {
      const node = nodes.find(({ nodeId }) => nodeId === leader);
      if (node === undefined) throw new Error(`partition ${partitionId} of ${topic} has no leader`);
      for (const until = performance.now() + READY_WITHIN_MS; ; await wait(50)) {
        const { error, records } = await fetchRecords(node, topic, partitionId);
        if (error === 0) return codecsOf(records);
        if (!NOT_YET.includes(error) || performance.now() > until)
          throw new Error(`the fetch of partition ${partitionId} was answered with error ${error}`);
      }
    }),
  );
  return found.flat();
}

async function fetchRecords({ host, port }: { host: string; port: number }, topic: string, partition: number) {
  const socket = connect({ host, port });
  try {
    await once(socket, "connect");
    socket.write(fetchRequest(topic, partition));
    let answer = Buffer.alloc(0);
    for await (const bytes of socket) {
      answer = Buffer.concat([answer, bytes as Buffer]);
      if (answer.length >= 4 && answer.length >= 4 + answer.readInt32BE(0)) return recordsOf(answer);
    }
    throw new Error(`${host}:${port} has ended the connection`);
  } finally {
    socket.destroy();
  }
}

function fetchRequest(topic: string, partition: number): Buffer {
  const body = Buffer.concat([
    ...[int16(FETCH), int16(VERSION), int32(1), text("stored-codecs")], // correlation, client
    ...[int32(-1), int32(0), int32(0), int32(MOST_BYTES), Buffer.of(0)], // no replica, at once, uncommitted too
    ...[int32(1), text(topic), int32(1), int32(partition), Buffer.alloc(8), int32(MOST_BYTES)], // from offset 0
  ]);
  return Buffer.concat([int32(body.length), body]);
}

/** The batches of an answer that holds one partition. */
function recordsOf(answer: Buffer): { error: number; records: Buffer } {
  let at = 4 + 4 + 4 + 4; // size, correlation, throttling, one topic
  at += 2 + answer.readInt16BE(at) + 4 + 4; // its name, one partition, its number
  const error = answer.readInt16BE(at);
  at += 2 + 8 + 8; // high watermark, last stable offset
  at += 4 + 16 * Math.max(0, answer.readInt32BE(at)); // aborted transactions
  return { error, records: answer.subarray(at + 4, at + 4 + Math.max(0, answer.readInt32BE(at))) };
}

function codecsOf(records: Buffer): string[] {
  const codecs: string[] = [];
  for (let at = 0; at + 61 <= records.length; at += 12 + records.readInt32BE(at + 8)) {
    const attributes = records.readInt16BE(at + 21);
    if ((attributes & CONTROL_BATCH) === 0) codecs.push(CODECS[attributes & 7] ?? "unknown");
  }
  return codecs;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

const text = (value: string) => Buffer.concat([int16(Buffer.byteLength(value)), Buffer.from(value)]);
