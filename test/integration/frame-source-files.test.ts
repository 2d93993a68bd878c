/** Files and folders as cameras, through real ffmpeg: the pixels are right, playing is in real time, nothing is left behind. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { cropGroup, previewOf } from "../../src/detector/crop.ts";
import { createFfmpegSources } from "../../src/detector/ffmpeg-frame-source.ts";
import type { Frame } from "../../src/detector/frame-source.ts";
import { makeClockVideo, readClock } from "../support/clock-video.ts";
import { quiet, testFfmpeg } from "../support/detector-assets.ts";

let folder: string;
let ffmpeg: string;

beforeAll(async () => {
  ffmpeg = await testFfmpeg();
  folder = await mkdtemp(join(tmpdir(), "vigilane-files-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function play(source: string, options: { intervalMs: number; startAtSeconds?: number; loop?: boolean }) {
  const frames: { number: number; capturedAtMs: number }[] = [];
  const states: string[] = [];
  let told = () => {};
  let onFrame = (_: Frame): void => {};
  const made = createFfmpegSources(
    ffmpeg,
    quiet,
  )({
    cameraId: "a",
    source,
    startAtSeconds: 0,
    loop: true,
    ...options,
    inputSize: { kind: "open", longSidePx: 640 },
    sink: {
      frame(frame) {
        frames.push({ number: readClock(frame.picture), capturedAtMs: frame.capturedAtMs });
        onFrame(frame);
        frame.release();
        told();
      },
      state(state, detail) {
        states.push(`${state} ${detail}`.trim());
        told();
      },
    },
  });
  onTestFinished(() => made.stop());
  return {
    frames,
    states,
    source: made,
    onFrame: (handler: (frame: Frame) => void) => (onFrame = handler),
    until: async (met: () => boolean) => {
      while (!met()) await new Promise<void>((resolve) => (told = resolve));
    },
  };
}

test("a file plays in real time from its place, and begins anew at its end", async () => {
  const path = join(folder, "short.mp4");
  await makeClockVideo(ffmpeg, { path, framesASecond: 10, seconds: 4, keyframeEvery: 10 });
  const camera = play(path, { intervalMs: 500, startAtSeconds: 2 });
  await camera.source.start();
  await camera.until(() => camera.frames.length >= 14);
  const numbers = camera.frames.map(({ number }) => number);
  expect(numbers.slice(0, 12)).toEqual([20, 25, 30, 35, 0, 5, 10, 15, 20, 25, 30, 35]);
  expect(numbers.slice(12)).toEqual([0, 5]);
  const gaps = camera.frames
    .slice(1)
    .map(({ capturedAtMs }, i) => capturedAtMs - (camera.frames[i]?.capturedAtMs ?? 0));
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  expect(mean).toBeGreaterThan(400);
  expect(mean).toBeLessThan(650);
});

test("a file that is not looped ends, and says so", async () => {
  const path = join(folder, "once.mp4");
  await makeClockVideo(ffmpeg, { path, framesASecond: 10, seconds: 2, keyframeEvery: 10 });
  const camera = play(path, { intervalMs: 500, loop: false });
  await camera.source.start();
  await camera.until(() => camera.states.at(-1) === "offline the recording has ended");
  expect(camera.frames.map(({ number }) => number)).toEqual([0, 5, 10, 15]);
});

test("a device that is not there: offline, with what to do", async () => {
  const device = "/dev/video63"; // the last of the kernel's own range
  const camera = play(device, { intervalMs: 500 });
  await camera.source.start();
  await camera.until(() => camera.states.at(-1)?.startsWith("offline") ?? false);
  expect(camera.states.at(-1)).toBe(
    `offline ${device} cannot be opened (ENOENT): plug the camera in, or correct the source (ls /dev/video*; a container needs --device ${device})`,
  );
});

test("a file that is not there: offline, with ffmpeg's words", async () => {
  const camera = play(join(folder, "nowhere.mp4"), { intervalMs: 500 });
  await camera.source.start();
  await camera.until(() => camera.states.some((state) => state.startsWith("offline")));
  expect(camera.states.at(-1)).toContain("No such file");
});

test("a folder of pictures is gone through, one a look; colours survive the way through YUV", async () => {
  const pictures = join(folder, "it's pictures");
  await mkdir(pictures);
  const shades = [
    { r: 200, g: 30, b: 60 },
    { r: 20, g: 160, b: 90 },
  ];
  for (const [i, background] of shades.entries()) {
    const picture = sharp({ create: { width: 320, height: 200, channels: 3, background } });
    await picture.jpeg({ quality: 95 }).toFile(join(pictures, `${i}.jpg`));
  }
  const camera = play(pictures, { intervalMs: 300 });
  const crops: Promise<Buffer | null>[] = [];
  camera.onFrame(({ picture }) => crops.push(cropGroup(picture, [50, 50, 250, 150])));
  await camera.source.start();
  await camera.until(() => camera.frames.length >= 3);
  for (const [i, crop] of (await Promise.all(crops)).slice(0, 3).entries()) {
    const image = sharp(crop ?? Buffer.alloc(0));
    expect(await image.metadata()).toMatchObject({ width: 224, height: 124, format: "jpeg" });
    const { channels } = await image.stats();
    const { r, g, b } = shades[i % 2] ?? { r: 0, g: 0, b: 0 };
    [r, g, b].forEach((wanted, channel) => {
      expect(Math.abs((channels[channel]?.mean ?? 0) - wanted)).toBeLessThan(4);
    });
  }
});

test.each([
  [1920, 1080, 3],
  [1280, 718, 2],
  [640, 480, 1],
])(
  "the scaled frame beside the native one is the same picture, also in bands (%i×%i: %i)",
  async (width, height, bands) => {
    const path = join(folder, `slope-${width}.png`);
    // Grey grows from top to bottom, and from left to right: no band can be mistaken for another.
    const grey = Buffer.alloc(width * height * 3);
    for (let i = 0; i < width * height; i += 1) {
      grey.fill(30 + (100 * Math.floor(i / width)) / height + (90 * (i % width)) / width, 3 * i, 3 * i + 3);
    }
    await sharp(grey, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(path);
    const camera = play(path, { intervalMs: 300 });
    const previews: Promise<Buffer>[] = [];
    camera.onFrame(({ picture }) => {
      expect(picture.layout.bands).toBe(bands);
      previews.push(previewOf(picture));
    });
    await camera.source.start();
    await camera.until(() => previews.length >= 1);
    const preview = sharp(await previews[0]).greyscale();
    const { data, info } = await preview.raw().toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: 640, height: Math.round((640 * height) / width / 2) * 2 });
    for (let y = 4; y < info.height; y += 8) {
      for (let x = 4; x < info.width; x += 64) {
        const wanted = 30 + (100 * y) / info.height + (90 * x) / info.width;
        expect(Math.abs((data[y * info.width + x] ?? 0) - wanted)).toBeLessThan(5);
      }
    }
  },
);

test("a single picture is looked at again and again", async () => {
  const path = join(folder, "100%d.jpg");
  await copyFile(join(folder, "it's pictures", "0.jpg"), path);
  const camera = play(path, { intervalMs: 300 });
  await camera.source.start();
  await camera.until(() => camera.frames.length >= 4);
  expect(camera.states).toEqual(["connecting", "online"]);
});

test("ffmpeg ends with its detector, also when that is killed", async () => {
  const path = join(folder, "orphan.mp4");
  await makeClockVideo(ffmpeg, { path, framesASecond: 10, seconds: 60, keyframeEvery: 10 });
  const script = `
    import { createFfmpegSources } from "${new URL("../../src/detector/ffmpeg-frame-source.ts", import.meta.url)}";
    import { systemClock } from "${new URL("../../src/context.ts", import.meta.url)}";
    const quiet = { clock: systemClock, log: { info() {}, warn() {}, debug() {}, error() {} } };
    const source = createFfmpegSources(process.argv[1], quiet)({
      cameraId: "a", source: process.argv[2], intervalMs: 500, startAtSeconds: 0, loop: true,
      inputSize: { kind: "open", longSidePx: 640 },
      sink: { state() {}, frame: (frame) => { frame.release(); console.log("frame"); } },
    });
    await source.start();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, ffmpeg, path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  const children = await childrenOf(child.pid ?? 0);
  expect(children).toHaveLength(1);
  child.kill("SIGKILL");
  await once(child, "exit");
  const deadline = AbortSignal.timeout(15_000);
  while (children.some(isAlive)) {
    deadline.throwIfAborted();
    await quiet.clock.sleep(50);
  }
});

async function childrenOf(pid: number): Promise<number[]> {
  const ps = spawn("ps", ["-o", "pid=", "--ppid", String(pid)]);
  let text = "";
  ps.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await once(ps, "close");
  return text.trim().split(/\s+/).filter(Boolean).map(Number);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
