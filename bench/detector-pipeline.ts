/**
 * The pipeline against the bare inference it is built around, same model, same input, same threads.
 *
 *   node bench/detector-pipeline.ts [seconds] [height: 360 (a camera's substream), 720 or 1080]
 *
 * One inference thread, one core left: looks a second of the whole detector on an overload of frames (four files, 33 a second
 * in all) ÷ session.run a second of one thread. Bare runs before and after, mean of the two.
 * Decoding must fit on the core that is left: on two cores 360p does (100 frames a second), 720p takes more than that core.
 */
import { ensureModel } from "../src/assets/models.ts";
import { letterbox } from "../src/detector/letterbox.ts";
import { bareInference } from "./detector-cpu.ts";
import { cache, context } from "./detector-footage.ts";
import { runDetector } from "./detector-run.ts";
import { cameraVideo } from "./detector-videos.ts";

const seconds = Number(process.argv[2] ?? 15);
const height = process.argv[3] === "1080" ? 1080 : process.argv[3] === "720" ? 720 : 360;
const model = await ensureModel({ cache, model: "yolo11n" }, context);
const box = letterbox({ kind: "open", longSidePx: 640 }, (height * 16) / 9, height);
const source = await cameraVideo(2, height);
const first = await bareInference(model, box, seconds / 2);
const cameras = ["a", "b", "c", "d"].map((id) => ({ id, source }));
const run = await runDetector(model, cameras, { intervalMs: 120, threads: 1, warmSeconds: 3, seconds });
const second = await bareInference(model, box, seconds / 2);
const bare = (first.perSecond + second.perSecond) / 2;
const looks = run.looks / run.seconds;
console.log(
  `bare: ${first.perSecond.toFixed(1)} and ${second.perSecond.toFixed(1)} session.run/s, ${first.cpuMs.toFixed(1)} CPU-ms each`,
);
console.log(
  `pipeline: ${looks.toFixed(1)} looks/s of 33 offered, ${run.dropped} dropped, ${run.groupsPerLook.toFixed(2)} groups a look`,
);
console.log(`pipeline ÷ bare: ${(looks / bare).toFixed(3)}`);
console.log(
  `CPU per look: ${run.ownCpuMs.toFixed(1)} ms ours + ${run.ffmpegCpuMs.toFixed(1)} ms ffmpeg (100 frames a second decoded, 33 scaled)`,
);
