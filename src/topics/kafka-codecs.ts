/**
 * The compressions that Kafka's producers use and kafkajs lacks: snappy, lz4, zstd (gzip it has). The native packages are
 * loaded at the first message that needs them.
 */
import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";

export interface Codec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>;
  decompress(buffer: Buffer): Promise<Buffer>;
}

/** What Java's clients write before snappy's blocks (the frame of the xerial library); librdkafka writes one bare block. */
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
/** The magic bytes, and two versions of four bytes each. */
const XERIAL_HEADER_BYTES = 16;

const snappy: Codec = {
  compress: async ({ buffer }) => (await import("snappy")).compress(buffer),
  async decompress(buffer) {
    const { uncompress } = await import("snappy");
    const blocks = await Promise.all(snappyBlocks(buffer).map((block) => uncompress(block, { asBuffer: true })));
    return blocks.length === 1
      ? Buffer.from(blocks[0] ?? "")
      : Buffer.concat(blocks.map((block) => Buffer.from(block)));
  },
};

/** The bare blocks of either form. Throws RangeError when a frame is cut off. */
export function snappyBlocks(buffer: Buffer): Buffer[] {
  if (!buffer.subarray(0, XERIAL.length).equals(XERIAL)) return [buffer];
  const blocks: Buffer[] = [];
  for (let at = XERIAL_HEADER_BYTES; at < buffer.length; ) {
    const length = buffer.readInt32BE(at);
    at += 4;
    if (length < 0 || at + length > buffer.length) throw new RangeError("a snappy frame is cut off");
    blocks.push(buffer.subarray(at, at + length));
    at += length;
  }
  return blocks;
}

const lz4: Codec = {
  compress: async ({ buffer }) => (await import("lz4-napi")).compressFrame(buffer),
  decompress: async (buffer) => (await import("lz4-napi")).decompressFrame(buffer),
};

const zstdPack = promisify(zstdCompress);
const zstdUnpack = promisify(zstdDecompress);
const zstd: Codec = {
  compress: ({ buffer }) => zstdPack(buffer),
  decompress: (buffer) => zstdUnpack(buffer),
};

export const CODECS = { snappy, lz4, zstd } as const;
