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
  /** `firstByteAt`: when the frame's first byte came, by the reader's clock. The buffer belongs to the sink. */
  frame(buffer: SharedArrayBuffer, firstByteAt: number): void;
}

const LONGEST_LINE = 1_024;
const NEWLINE = 0x0a;
/** The line before each frame, as ffmpeg writes it. */
const FRAME_LINE = "FRAME\n";

interface Filling {
  buffer: SharedArrayBuffer;
  filled: number;
  firstByteAt: number;
}

/**
 * Says where the next bytes belong (`target`), and is told how many have come (`filled`): whoever reads from a socket reads
 * straight into the frame.
 */
export class Y4mReader {
  readonly #sink: Y4mSink;
  readonly #buffers: BufferPool;
  readonly #line = Buffer.alloc(LONGEST_LINE);
  #lineBytes = 0;
  #header: Y4mHeader | undefined;
  /** The frame that is being filled. */
  #filling: Filling | undefined;
  #firstByteAt = 0;

  readonly #now: () => number;

  constructor(sink: Y4mSink, buffers: BufferPool, now: () => number) {
    this.#now = now;
    this.#sink = sink;
    this.#buffers = buffers;
  }

  /** Never empty, and never more than the line or frame that is being read. Good until the next `filled`. */
  target(): Buffer {
    if (this.#filling) {
      const { buffer, filled } = this.#filling;
      return Buffer.from(buffer, filled);
    }
    const expected = this.#header ? FRAME_LINE.length : 1; // where the header ends, only its bytes tell
    return this.#line.subarray(this.#lineBytes, Math.max(this.#lineBytes + 1, expected));
  }

  /** `bytes` of the target have been written. */
  filled(bytes: number): void {
    if (this.#filling) this.#fill(this.#filling, bytes);
    else this.#readLine(bytes);
  }

  /** Gives back what is half filled. */
  end(): void {
    if (this.#filling) this.#buffers.giveBack(this.#filling.buffer);
    this.#filling = undefined;
  }

  #readLine(bytes: number): void {
    if (this.#lineBytes === 0) this.#firstByteAt = this.#now();
    this.#lineBytes += bytes;
    if (this.#line[this.#lineBytes - 1] !== NEWLINE) {
      if (this.#lineBytes === LONGEST_LINE) throw new Error("ffmpeg's output is no yuv4mpegpipe");
      return;
    }
    const line = this.#line.toString("latin1", 0, this.#lineBytes - 1);
    this.#lineBytes = 0;
    this.#take(line);
  }

  #take(line: string): void {
    if (!this.#header) {
      this.#header = parseY4mHeader(line);
      this.#sink.header(this.#header);
      return;
    }
    if (!line.startsWith("FRAME")) throw new Error(`a frame was expected from ffmpeg, not "${line.slice(0, 40)}"`);
    const buffer = this.#buffers.take((this.#header.width * this.#header.height * 3) / 2);
    this.#filling = { buffer, filled: 0, firstByteAt: this.#firstByteAt };
  }

  #fill(filling: Filling, bytes: number): void {
    filling.filled += bytes;
    if (filling.filled < filling.buffer.byteLength) return;
    this.#filling = undefined;
    this.#sink.frame(filling.buffer, filling.firstByteAt);
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
