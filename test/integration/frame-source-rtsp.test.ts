/** A real RTSP server in front of the frame source: keyframes, stall, exit, restart, and what time a frame really is of. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createFfmpegSources } from "../../src/detector/ffmpeg-frame-source.ts";
import type { CameraState } from "../../src/messages.ts";
import { makeClockVideo, readClock } from "../support/clock-video.ts";
import { quiet, testFfmpeg } from "../support/detector-assets.ts";
import { type RtspServer, startRtspServer, whyNoRtspServer } from "../support/rtsp-server.ts";

const FRAMES_A_SECOND = 10;
const FRAME_MS = 1000 / FRAMES_A_SECOND;
const why = whyNoRtspServer();
if (why) console.log(`frame-source-rtsp: skipped: ${why}`);

describe.skipIf(why)("over RTSP", () => {
  let folder: string;
  let ffmpeg: string;
  let server: RtspServer;

  beforeAll(async () => {
    ffmpeg = await testFfmpeg();
    folder = await mkdtemp(join(tmpdir(), "vigilane-rtsp-"));
    const video = { framesASecond: FRAMES_A_SECOND, seconds: 120, keyframeEvery: 20 };
    await makeClockVideo(ffmpeg, { ...video, path: join(folder, "plain.mp4") });
    await makeClockVideo(ffmpeg, { ...video, path: join(folder, "b.mp4"), bFrames: 2 });
    server = await startRtspServer({ "/plain": join(folder, "plain.mp4"), "/b": join(folder, "b.mp4") });
  }, 120_000);
  afterAll(async () => {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  });

  test("no look hides before capturedAt: all frames decoded, delay is the one frame that ffmpeg's parser needs", async () => {
    const camera = await watch("/plain", 500);
    await camera.frames(8);
    expect(camera.details.at(-1)).toContain("everything is decoded");
    for (const { delayMs } of camera.seen) expect(delayMs).toBeGreaterThan(-20);
    expect(median(camera.seen.map(({ delayMs }) => delayMs))).toBeLessThan(FRAME_MS + 80);
  });

  test("keyframes only, where they come often enough: each look a keyframe, and none a look late", async () => {
    const camera = await watch("/plain", 2_000);
    await camera.frames(4);
    expect(camera.details.at(-1)).toMatch(/^keyframes only \(one every (1\.9|2\.0|2\.1) s\)$/);
    for (const { number } of camera.seen) expect(number % 20).toBe(0);
    expect(median(camera.seen.map(({ delayMs }) => delayMs))).toBeLessThan(FRAME_MS + 80);
  });

  test("B-frames: everything is decoded, and that is said", async () => {
    const camera = await watch("/b", 2_000);
    await camera.frames(2);
    expect(camera.details.at(-1)).toContain("B-frames");
  });

  test("a camera that falls silent is stalled, one that is gone is offline, and both come back by themselves", async () => {
    const camera = await watch("/plain", 500);
    await camera.frames(2);
    server.freeze();
    await camera.state("stalled");
    server.thaw();
    await camera.state("online");
    await camera.frames(2);
    await server.kill();
    await camera.state("offline");
    await server.restart();
    await camera.state("online");
    await camera.frames(2);
  }, 120_000);

  async function watch(mount: string, intervalMs: number) {
    const seen: { number: number; delayMs: number }[] = [];
    const details: string[] = [];
    const states: CameraState[] = [];
    let told = () => {};
    const until = async (met: () => boolean) => {
      while (!met()) await new Promise<void>((resolve) => (told = resolve));
    };
    const source = createFfmpegSources(
      ffmpeg,
      quiet,
    )({
      cameraId: "a",
      source: server.url(mount),
      intervalMs,
      startAtSeconds: 0,
      loop: true,
      inputSize: { kind: "open", longSidePx: 640 },
      sink: {
        frame({ capturedAtMs, picture, release }) {
          const number = readClock(picture);
          seen.push({ number, delayMs: capturedAtMs - (server.playingSinceMs(mount) ?? 0) - number * FRAME_MS });
          release();
          told();
        },
        state(state, detail) {
          states.push(state);
          details.push(detail);
          told();
        },
      },
    });
    await source.start();
    onTestFinished(() => source.stop());
    return {
      seen,
      details,
      /** So many more frames. */
      frames(count: number) {
        const target = seen.length + count;
        return until(() => seen.length >= target);
      },
      /** The state after what was seen of states so far. */
      state(state: CameraState) {
        const from = states.length;
        return until(() => states.slice(from).includes(state));
      },
    };
  }
});

function median(values: number[]): number {
  const sorted = [...values].sort((p, q) => p - q);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
