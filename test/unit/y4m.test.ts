import { expect, test } from "vitest";
import { BufferPool, parseY4mHeader, Y4mReader } from "../../src/detector/y4m.ts";

/** As a socket or pipe brings it: never more than the target holds. */
function push(reader: Y4mReader, chunk: Uint8Array) {
  for (let at = 0; at < chunk.length; ) {
    const target = reader.target();
    expect(target.length).toBeGreaterThan(0);
    const part = chunk.subarray(at, at + target.length);
    target.set(part);
    reader.filled(part.length);
    at += part.length;
  }
}

const HEADER = "YUV4MPEG2 W4 H2 F25:1 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL\n";
const frame = (value: number) => Buffer.concat([Buffer.from("FRAME\n"), Buffer.alloc(12, value)]);

function read(chunkBytes: number) {
  const stream = Buffer.concat([
    Buffer.from(HEADER),
    frame(1),
    frame(2),
    frame(10),
    Buffer.from("FRAME\n"),
    Buffer.alloc(5),
  ]);
  const frames: { value: number; at: number }[] = [];
  const pool = new BufferPool();
  let now = 0;
  const reader = new Y4mReader(
    {
      header: (header) => expect(header).toEqual({ width: 4, height: 2, range: "full" }),
      frame(buffer, at) {
        const bytes = new Uint8Array(buffer);
        expect(bytes).toHaveLength(12);
        expect(new Set(bytes).size).toBe(1);
        frames.push({ value: bytes[0] ?? -1, at });
        pool.giveBack(buffer);
      },
    },
    pool,
    () => now,
  );
  for (; now < stream.length; now += chunkBytes) push(reader, stream.subarray(now, now + chunkBytes));
  reader.end();
  return frames;
}

test.each([1, 2, 7, 13, 1000])("frames are whole, whatever the chunks (%i bytes)", (chunkBytes) => {
  expect(read(chunkBytes).map(({ value }) => value)).toEqual([1, 2, 10]);
});

test("a frame's time is that of its first byte, not of its last", () => {
  const starts = [0, 1, 2].map((i) => HEADER.length + i * 18);
  expect(read(1).map(({ at }) => at)).toEqual(starts);
});

test("what is no 4:2:0 yuv4mpegpipe is refused", () => {
  expect(() => parseY4mHeader("YUV4MPEG2 W4 H2 C444")).toThrow(/4:2:0/);
  expect(() => parseY4mHeader("RIFF")).toThrow();
  const reader = new Y4mReader({ header() {}, frame() {} }, new BufferPool(), () => 0);
  expect(() => push(reader, Buffer.from(`${HEADER}NOISE\n`))).toThrow(/a frame was expected/);
  expect(() =>
    push(new Y4mReader({ header() {}, frame() {} }, new BufferPool(), () => 0), Buffer.alloc(4096, 65)),
  ).toThrow();
});
