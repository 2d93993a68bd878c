/** Runs the whole detector on some cameras for a while and says what it did and what it cost. */
import { ensureFfmpeg } from "../src/assets/ffmpeg.ts";
import type { Camera } from "../src/cameras.ts";
import { createCameraDetector } from "../src/detector/detector.ts";
import { createFfmpegSources } from "../src/detector/ffmpeg-frame-source.ts";
import { createInferencePool } from "../src/detector/inference-pool.ts";
import { CameraStatus, Detection } from "../src/messages.ts";
import type { ModelFile } from "../src/model-file.ts";
import { KEYS } from "../src/names.ts";
import { connectStore } from "../src/store.ts";
import { startRedis } from "../test/support/redis.ts";
import { ffmpegCpuMs, ownCpuMs, ownCpuMsByThread } from "./detector-cpu.ts";
import { cache, context } from "./detector-footage.ts";

export interface DetectorRun {
  seconds: number;
  looks: number;
  dropped: number;
  online: number;
  /** Groups a look: each costs a crop. */
  groupsPerLook: number;
  /** CPU of this process, and of ffmpeg, per look. */
  ownCpuMs: number;
  ffmpegCpuMs: number;
  /** Of ownCpuMs, by thread. */
  threads: { name: string; cpuMs: number }[];
  latencyMs: { p50: number; p95: number };
  rssMb: number;
  details: string[];
}

/** `warmSeconds`: before counting begins, all cameras online or not. Topic and images are the fastest there can be: none. */
export async function runDetector(
  model: ModelFile,
  cameras: Camera[],
  options: { intervalMs: number; threads?: number; warmSeconds: number; seconds: number },
): Promise<DetectorRun> {
  const { intervalMs, threads, warmSeconds, seconds } = options;
  const store = await startRedis({ appendonly: false });
  const redis = await connectStore(store.url, context);
  let published: Buffer[] = [];
  const detector = createCameraDetector(
    {
      instance: "bench",
      cameras,
      defaultIntervalMs: intervalMs,
      pool: createInferencePool(model, context, threads),
      sources: createFfmpegSources(await ensureFfmpeg({ cache }, context), context),
      topics: {
        publish(_topic, messages) {
          published.push(...messages.map(({ value }) => value));
          return Promise.resolve();
        },
        publishedAgain: () => 0,
      },
      images: { put: (camera, name) => Promise.resolve(`vigilane:images/${camera}/2026010100/${name}.jpg`) },
      redis,
    },
    context,
  );
  await detector.start();
  await context.clock.sleep(warmSeconds * 1000);
  const statuses = async () =>
    Object.values(await redis.hgetall(KEYS.cameras)).map((json) => CameraStatus.parse(JSON.parse(json)));
  const dropped = async () => (await statuses()).reduce((sum, { frames }) => sum + frames.dropped, 0);
  published = [];
  const threadsBefore = ownCpuMsByThread();
  const before = { own: ownCpuMs(), ffmpeg: ffmpegCpuMs(), dropped: await dropped(), atMs: performance.now() };
  await context.clock.sleep(seconds * 1000);
  const values = published;
  const after = { own: ownCpuMs(), ffmpeg: ffmpegCpuMs(), dropped: await dropped(), atMs: performance.now() };
  const threadsAfter = [...ownCpuMsByThread()];
  const last = await statuses();
  const measured = values.map((value) => Detection.parse(JSON.parse(value.toString())));
  const rssMb = process.memoryUsage.rss() / 1024 ** 2;
  await detector.stop();
  redis.disconnect();
  await store.stop();
  const latencies = measured
    .map(({ capturedAt, detectedAt }) => Date.parse(detectedAt ?? "") - Date.parse(capturedAt ?? ""))
    .sort((p, q) => p - q);
  const at = (share: number) =>
    latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? Number.NaN;
  return {
    seconds: (after.atMs - before.atMs) / 1000,
    looks: measured.length,
    dropped: after.dropped - before.dropped,
    online: last.filter(({ state }) => state === "online").length,
    groupsPerLook: measured.reduce((sum, { trafficGroups }) => sum + trafficGroups.length, 0) / measured.length,
    ownCpuMs: (after.own - before.own) / measured.length,
    ffmpegCpuMs: (after.ffmpeg - before.ffmpeg) / measured.length,
    threads: threadsAfter
      .map(([name, ms]) => ({ name, cpuMs: (ms - (threadsBefore.get(name) ?? 0)) / measured.length }))
      .filter(({ cpuMs }) => cpuMs >= 0.1)
      .sort((p, q) => q.cpuMs - p.cpuMs),
    latencyMs: { p50: at(0.5), p95: at(0.95) },
    rssMb,
    details: [...new Set(last.map(({ state, detail }) => `${state}: ${detail}`))],
  };
}
