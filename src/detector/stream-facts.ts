/** What a short look at a stream tells, read from ffmpeg's own words: size, colours, keyframe interval, B-frames. */
import type { Colour } from "./picture.ts";

export interface StreamFacts {
  /** ffmpeg's name of the container or protocol, such as "hls", "rtsp", "mov,mp4,m4a,3gp,3g2,mj2". */
  format: string;
  codec: string;
  /** As shown: after rotation; even. */
  width: number;
  height: number;
  colour: Colour;
  /** Frames a second; null: unknown. */
  fps: number | null;
  /** Largest distance of two keyframes that was seen, or the time since the last one where that is longer, ms; null: no keyframe was seen. */
  keyframeMs: number | null;
  /** Frames come in another order than they are shown in: the decoder must hold some back. */
  bFrames: boolean;
  /** Length of a recording, s; null: the source is live. */
  durationSeconds: number | null;
}

/** Below this a time stamp is ffmpeg's "unknown" (the least 64-bit number). */
const NO_TIME = -(2 ** 62);

/** Reads what `ffmpeg -i … -c copy -f framecrc -` writes to both of its outputs, line by line, as far as it has come. */
export class FactsReader {
  #format = "";
  #codec = "";
  #size: [number, number] | undefined;
  #pixels = "";
  #fps: number | null = null;
  #rotated = false;
  #durationSeconds: number | null = null;
  #inInput = false;
  #timeBase = 0;
  #keyframesMs: number[] = [];
  #bFrames = false;
  #lastMs = Number.NEGATIVE_INFINITY;

  /** A line of ffmpeg's log. Only the input's first video stream counts. */
  logLine(line: string): void {
    const input = /^Input #\d+, (.+?), from /.exec(line);
    if (input) [this.#inInput, this.#format] = [true, input[1] ?? ""];
    if (/^Output #\d/.test(line)) this.#inInput = false;
    if (!this.#inInput) return;
    const duration = /^\s+Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)/.exec(line);
    if (duration) this.#durationSeconds = Number(duration[1]) * 3600 + Number(duration[2]) * 60 + Number(duration[3]);
    const rotation = /displaymatrix: rotation of (-?\d+(?:\.\d+)?) degrees/.exec(line);
    if (rotation) this.#rotated = Math.round(Math.abs(Number(rotation[1])) / 90) % 2 === 1;
    const video = /Stream #\d+:\d+.*?: Video: (\w+)(.*)$/.exec(line);
    if (!video || this.#size) return;
    const [, codec = "", rest = ""] = video;
    const size = /, (\d+)x(\d+)/.exec(rest);
    if (!size) return;
    this.#codec = codec;
    this.#size = [Number(size[1]), Number(size[2])];
    this.#pixels = /, (\w+(?:\([^)]*\))?), \d+x\d+/.exec(rest)?.[1] ?? "";
    const fps = /, (\d+(?:\.\d+)?)(k?) fps/.exec(rest);
    this.#fps = fps ? Number(fps[1]) * (fps[2] ? 1000 : 1) : null;
  }

  /** A line of framecrc: "#tb 0: 1/90000", or stream, dts, pts, duration, size, checksum, and F=… unless a keyframe. */
  packetLine(line: string): void {
    const base = /^#tb 0: (\d+)\/(\d+)/.exec(line);
    if (base) this.#timeBase = Number(base[1]) / Number(base[2]);
    const packet = /^0,\s*(-?\d+),\s*(-?\d+),/.exec(line);
    if (!packet) return;
    const flags = /F=0x([0-9A-Fa-f]+)/.exec(line);
    const [dts, pts] = [Number(packet[1]), Number(packet[2])];
    if (pts < NO_TIME) return;
    const ms = pts * this.#timeBase * 1000;
    if ((dts > NO_TIME && dts !== pts) || ms < this.#lastMs) this.#bFrames = true;
    this.#lastMs = Math.max(ms, this.#lastMs);
    if (!flags || (Number.parseInt(flags[1] ?? "0", 16) & 1) === 1) this.#keyframesMs.push(ms);
  }

  get keyframes(): number {
    return this.#keyframesMs.length;
  }

  /** Media time since the first keyframe, ms; 0 before it. */
  get sinceKeyframeMs(): number {
    const [first] = this.#keyframesMs;
    return first === undefined ? 0 : this.#lastMs - first;
  }

  /** Null: no video stream was seen. */
  facts(): StreamFacts | null {
    if (!this.#size) return null;
    const [w, h] = this.#rotated ? [this.#size[1], this.#size[0]] : this.#size;
    const gaps = [...this.#keyframesMs.slice(1), this.#lastMs].map((ms, i) => ms - (this.#keyframesMs[i] ?? ms));
    return {
      format: this.#format,
      codec: this.#codec,
      width: Math.floor(w / 2) * 2,
      height: Math.floor(h / 2) * 2,
      colour: colourOf(this.#pixels),
      fps: this.#fps,
      keyframeMs: this.#keyframesMs.length > 0 ? Math.max(...gaps) : null,
      bFrames: this.#bFrames,
      durationSeconds: this.#durationSeconds,
    };
  }
}

/**
 * "yuv420p(tv, bt709, progressive)", "yuvj420p(pc, bt470bg/unknown/unknown)", "rgb24(pc)". What is not said is bt601 limited, as
 * decoders assume; so is what ffmpeg makes of pictures that are not YUV.
 */
export function colourOf(pixels: string): Colour {
  if (/^(rgb|bgr|gbr|argb|abgr|pal|0rgb|0bgr)/.test(pixels)) return { matrix: "bt601", range: "limited" };
  const range = pixels.startsWith("yuvj") || /\bpc\b/.test(pixels) ? "full" : "limited";
  const matrix = /bt2020/.test(pixels) ? "bt2020" : /bt709/.test(pixels) ? "bt709" : "bt601";
  return { matrix, range };
}

/** How a stream is decoded for one look an interval. */
export interface DecodingPlan {
  keyframesOnly: boolean;
  /** What passes the filter, ms: shorter than the interval by half of what frames come apart. */
  selectMs: number;
  /** How far apart looks will be, ms. */
  expectedMs: number;
  /** For people: what is worth knowing about this choice; "" when there is nothing. */
  detail: string;
}

/** Keyframes alone may stretch the interval by this much. */
const MOST_STRETCH = 1.25;

/**
 * Decoding keyframes only costs a tenth of decoding everything. It is chosen where keyframes come often enough for the
 * interval; never with B-frames: the decoder would hold back two keyframes, not two frames, and show the scene seconds late.
 */
export function planDecoding(facts: StreamFacts, intervalMs: number): DecodingPlan {
  const frameMs = facts.fps ? 1000 / facts.fps : intervalMs / 10;
  const everything = { keyframesOnly: false, selectMs: Math.max(0, intervalMs - frameMs / 2), expectedMs: intervalMs };
  const { keyframeMs } = facts;
  if (keyframeMs !== null && keyframeMs > frameMs * 1.5) {
    const expectedMs = Math.max(1, Math.round(intervalMs / keyframeMs)) * keyframeMs;
    const oftenEnough = expectedMs <= intervalMs * MOST_STRETCH;
    if (oftenEnough && !facts.bFrames) {
      const detail = `keyframes only (one every ${seconds(keyframeMs)})`;
      return { keyframesOnly: true, selectMs: Math.max(0, intervalMs - keyframeMs / 2), expectedMs, detail };
    }
    if (oftenEnough) {
      return { ...everything, detail: "B-frames: everything is decoded; turn them off at the camera to save its cost" };
    }
    return { ...everything, detail: `everything is decoded: keyframes are ${seconds(keyframeMs)} apart or more` };
  }
  return { ...everything, detail: "" };
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
