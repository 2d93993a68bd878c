/**
 * What cameras cost: 1080p25 H.264 over RTSP, one look every 2 s, inference on all cores.
 *
 *   node bench/detector-cameras.ts [cameras = 28] [seconds = 30] [keyframe every s = 2]
 *
 * A keyframe every 2 s: keyframes only are decoded; every 10 s: everything is. The RTSP server shares the cores; its CPU is
 * outside the count.
 */
import { ensureFfmpeg } from "../src/assets/ffmpeg.ts";
import { ensureModel } from "../src/assets/models.ts";
import { letterbox } from "../src/detector/letterbox.ts";
import { startRtspServer } from "../test/support/rtsp-server.ts";
import { bareDecodingMs, bareInference } from "./detector-cpu.ts";
import { cache, context } from "./detector-footage.ts";
import { runDetector } from "./detector-run.ts";
import { cameraVideo } from "./detector-videos.ts";

const [count = 28, seconds = 30, keyframeSeconds = 2] = process.argv.slice(2).map(Number);
const model = await ensureModel({ cache, model: "yolo11n" }, context);
const video = await cameraVideo(keyframeSeconds);
const ids = Array.from({ length: count }, (_, i) => `camera-${i + 1}`);
const bare = await bareInference(model, letterbox({ kind: "open", longSidePx: 640 }, 1920, 1080), 5);
const server = await startRtspServer(Object.fromEntries(ids.map((id) => [`/${id}`, video])));
const decodingMs = await bareDecodingMs(await ensureFfmpeg({ cache }, context), server.url("/camera-1"), 0.5, 16);
const cameras = ids.map((id) => ({ id, source: server.url(`/${id}`) }));
const run = await runDetector(model, cameras, { intervalMs: 2000, warmSeconds: 8 + count / 3, seconds });
await server.stop();
const perLook = run.ownCpuMs + run.ffmpegCpuMs;
console.log(`${count} cameras, ${run.online} online (${run.details.join("; ")})`);
console.log(
  `${run.looks} looks in ${run.seconds.toFixed(1)} s (${((count * run.seconds) / 2).toFixed(0)} asked for), ${run.dropped} dropped`,
);
console.log(`capture to boxes: P50 ${run.latencyMs.p50.toFixed(0)} ms, P95 ${run.latencyMs.p95.toFixed(0)} ms`);
console.log(
  `CPU-ms per look: ${run.ownCpuMs.toFixed(1)} ours + ${run.ffmpegCpuMs.toFixed(1)} ffmpeg; bare inference ${bare.cpuMs.toFixed(1)}`,
);
console.log(`ours by thread: ${run.threads.map(({ name, cpuMs }) => `${name} ${cpuMs.toFixed(1)}`).join(", ")}`);
console.log(
  `÷ bare: ${(run.ownCpuMs / bare.cpuMs).toFixed(2)} without decoding, ${(perLook / bare.cpuMs).toFixed(2)} with; ${run.groupsPerLook.toFixed(2)} groups a look`,
);
console.log(
  `ffmpeg alone, keyframes decoded and thrown away: ${decodingMs.toFixed(1)} CPU-ms a look, ${(decodingMs / bare.cpuMs).toFixed(2)} of bare inference`,
);
console.log(
  `cores: ${((perLook * run.looks) / run.seconds / 1000).toFixed(2)}; memory of the detector ${run.rssMb.toFixed(0)} MB`,
);
