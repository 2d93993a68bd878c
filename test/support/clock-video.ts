/** Videos whose frames say their own number: sixteen stripes, white for a 1, the highest bit first. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Picture } from "../../src/detector/picture.ts";

const BITS = 16;
export const WIDTH = 640;
export const HEIGHT = 360;
const BLACK = 16;
const WHITE = 235;

export interface ClockVideo {
  path: string;
  framesASecond: number;
  seconds: number;
  /** Frames from one keyframe to the next. */
  keyframeEvery: number;
  bFrames?: number;
}

/** Encodes an MP4 (H.264, baseline unless B-frames are asked for). Frame n shows n. */
export async function makeClockVideo(ffmpeg: string, video: ClockVideo): Promise<void> {
  const { framesASecond, seconds, keyframeEvery, bFrames = 0 } = video;
  const options =
    `-hide_banner -loglevel error -y -f rawvideo -pix_fmt gray -s ${WIDTH}x${HEIGHT} -r ${framesASecond} -i pipe:0 ` +
    `-pix_fmt yuv420p -c:v libx264 -preset ultrafast -g ${keyframeEvery} -keyint_min ${keyframeEvery} ` +
    `-sc_threshold 0 -bf ${bFrames}`;
  const child = spawn(ffmpeg, [...options.split(" "), video.path], { stdio: ["pipe", "ignore", "inherit"] });
  const ended = once(child, "exit");
  for (let n = 0; n < framesASecond * seconds; n += 1) {
    if (!child.stdin.write(clockFrame(n))) await once(child.stdin, "drain");
  }
  child.stdin.end();
  const [code] = await ended;
  if (code !== 0) throw new Error(`ffmpeg ended with ${code}`);
}

/** Grey pixels, row by row, of the frame that shows n. */
export function clockFrame(n: number): Buffer {
  const row = Buffer.alloc(WIDTH);
  for (let x = 0; x < WIDTH; x += 1) {
    const bit = BITS - 1 - Math.floor((x * BITS) / WIDTH);
    row[x] = (n >> bit) & 1 ? WHITE : BLACK;
  }
  return Buffer.concat(Array.from({ length: HEIGHT }, () => row));
}

/** The number that the native frame shows. */
export function readClock({ layout, data }: Picture): number {
  const bytes = new Uint8Array(data);
  const row = layout.stride * Math.floor(layout.height / 2);
  let n = 0;
  for (let stripe = 0; stripe < BITS; stripe += 1) {
    const x = Math.floor(((stripe + 0.5) * layout.width) / BITS);
    n = n * 2 + ((bytes[row + x] ?? 0) > (BLACK + WHITE) / 2 ? 1 : 0);
  }
  return n;
}
