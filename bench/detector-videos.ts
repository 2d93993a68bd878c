/** H.264 at 25 frames a second from the demo footage, encoded once and kept in the cache: what a camera sends. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { ensureFfmpeg } from "../src/assets/ffmpeg.ts";
import { ensureFootage } from "../src/assets/footage.ts";
import { cache, context } from "./detector-footage.ts";

/** Path of 60 s with a keyframe every so many seconds, about 3 Mbit/s, no B-frames. */
export async function cameraVideo(keyframeSeconds: number, height: 1080 | 720 | 360 = 1080): Promise<string> {
  const path = join(cache, "bench", `${height}p25-key${keyframeSeconds}.mp4`);
  if (existsSync(path)) return path;
  mkdirSync(join(cache, "bench"), { recursive: true });
  const [ffmpeg, footage] = [await ensureFfmpeg({ cache }, context), await ensureFootage({ cache }, context)];
  const frames = String(25 * keyframeSeconds);
  const options =
    `-nostdin -hide_banner -loglevel error -y -i ${footage} -t 60 -an -vf fps=25,scale=${(height * 16) / 9}:${height} -c:v libx264 ` +
    `-preset veryfast -tune zerolatency -bf 0 -g ${frames} -keyint_min ${frames} -sc_threshold 0 -b:v 3M ${path}.part.mp4`;
  const [code] = await once(spawn(ffmpeg, options.split(" "), { stdio: "inherit" }), "exit");
  if (code !== 0) throw new Error(`ffmpeg ended with ${code}`);
  renameSync(`${path}.part.mp4`, path);
  return path;
}
