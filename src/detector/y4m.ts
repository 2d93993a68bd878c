/**
 * Reads ffmpeg's yuv4mpegpipe output: one header line, then frames, each a line FRAME and the three planes. Frames are
 * assembled in shared buffers that are lent out and come back.
 */

export interface Y4mHeader {
  width: number;
  height: number;
  /** Null: the stream does not say. */
  range: "limited" | "full" | null;
}

export interface Y4mSink {
  /** Before the first frame. Throws when the frames are not what was expected. */
  header(header: Y4mHeader): void;
  /** `firstByteAt`: the time handed to the `push` that brought the frame's first byte. The buffer belongs to the sink. */
  frame(buffer: SharedArrayBuffer, firstByteAt: number): void;
}

const LONGEST_LINE = 1_024;
const NEWLINE = 0x0a;

export class Y4mReader {
  readonly #sink: Y4mSink;
  readonly #buffers: BufferPool;
  #header: Y4mHeader | undefined;
  #line: number[] = [];
  /** The frame that is being filled. */
  #filling: { bytes: Uint8Array; buffer: SharedArrayBuffer; filled: number; firstByteAt: number } | undefined;
  #firstByteAt = 0;

  constructor(sink: Y4mSink, buffers: BufferPool) {
    this.#sink = sink;
    this.#buffers = buffers;
  }

  push(chunk: Uint8Array, now: number): void {
    let at = 0;
    while (at < chunk.length) at = this.#filling ? this.#fill(chunk, at) : this.#readLine(chunk, at, now);
  }

  /** Gives back what is half filled. */
  end(): void {
    if (this.#filling) this.#buffers.giveBack(this.#filling.buffer);
    this.#filling = undefined;
  }

  #readLine(chunk: Uint8Array, start: number, now: number): number {
    if (this.#line.length === 0) this.#firstByteAt = now;
    const end = chunk.indexOf(NEWLINE, start);
    const stop = end < 0 ? chunk.length : end;
    for (let i = start; i < stop; i += 1) this.#line.push(chunk[i] as number);
    if (this.#line.length > LONGEST_LINE) throw new Error("ffmpeg's output is no yuv4mpegpipe");
    if (end < 0) return chunk.length;
    this.#take(String.fromCharCode(...this.#line));
    this.#line = [];
    return end + 1;
  }

  #take(line: string): void {
    if (!this.#header) {
      this.#header = parseY4mHeader(line);
      this.#sink.header(this.#header);
      return;
    }
    if (!line.startsWith("FRAME")) throw new Error(`a frame was expected from ffmpeg, not "${line.slice(0, 40)}"`);
    const buffer = this.#buffers.take((this.#header.width * this.#header.height * 3) / 2);
    this.#filling = { bytes: new Uint8Array(buffer), buffer, filled: 0, firstByteAt: this.#firstByteAt };
  }

  #fill(chunk: Uint8Array, start: number): number {
    const filling = this.#filling;
    if (!filling) return start;
    const part = chunk.subarray(start, start + filling.bytes.length - filling.filled);
    filling.bytes.set(part, filling.filled);
    filling.filled += part.length;
    if (filling.filled === filling.bytes.length) {
      this.#filling = undefined;
      this.#sink.frame(filling.buffer, filling.firstByteAt);
    }
    return start + part.length;
  }
}

/** "YUV4MPEG2 W640 H480 F25:1 Ip A1:1 C420jpeg XCOLORRANGE=FULL" */
export function parseY4mHeader(line: string): Y4mHeader {
  const [magic, ...fields] = line.split(" ");
  const field = (letter: string) => fields.find((text) => text.startsWith(letter))?.slice(letter.length);
  const width = Number(field("W"));
  const height = Number(field("H"));
  if (magic !== "YUV4MPEG2" || !(width > 0 && height > 0) || !(field("C") ?? "420").startsWith("420")) {
    throw new Error(`ffmpeg's output begins with "${line.slice(0, 80)}", not with a 4:2:0 yuv4mpegpipe header`);
  }
  const range = field("XCOLORRANGE=");
  return { width, height, range: range === "FULL" ? "full" : range === "LIMITED" ? "limited" : null };
}

/** Buffers of frames by their size, used again and again: at 1080p one is 4 MB. */
export class BufferPool {
  readonly #free = new Map<number, SharedArrayBuffer[]>();

  take(bytes: number): SharedArrayBuffer {
    return this.#free.get(bytes)?.pop() ?? new SharedArrayBuffer(bytes);
  }

  giveBack(buffer: SharedArrayBuffer): void {
    const free = this.#free.get(buffer.byteLength);
    if (!free) this.#free.set(buffer.byteLength, [buffer]);
    else if (free.length < MOST_FREE) free.push(buffer);
  }
}

/** Beyond this many of one size a burst is over, and the memory goes back. */
const MOST_FREE = 32;
