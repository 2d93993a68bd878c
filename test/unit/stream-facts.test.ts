import { expect, test } from "vitest";
import { lookOptions } from "../../src/detector/ffmpeg-options.ts";
import { letterbox } from "../../src/detector/letterbox.ts";
import { pictureLayout } from "../../src/detector/picture.ts";
import { colourOf, FactsReader, planDecoding, type StreamFacts } from "../../src/detector/stream-facts.ts";

const LOG = `Input #0, rtsp, from 'rtsp://camera/1':
  Duration: N/A, start: 0.040000, bitrate: N/A
    Stream #0:0: Video: h264 (Main), yuv420p(tv, bt709, progressive), 1920x1080, 25 fps, 25 tbr, 90k tbn
    Stream #0:1: Audio: aac (LC), 48000 Hz, stereo, fltp
Output #0, framecrc, to 'pipe:':
    Stream #0:0: Video: h264, yuv420p, 7x7, 1 fps`;

function facts(log: string, packets: string[]) {
  const reader = new FactsReader();
  for (const line of log.split("\n")) reader.logLine(line);
  for (const line of packets) reader.packetLine(line);
  return reader.facts();
}

test("size, colours, frame rate and keyframes are read from ffmpeg's words", () => {
  const packets = ["#tb 0: 1/90000", "0, 0, 0, 3600, 9999, 0xaa", "0, 3600, 3600, 3600, 99, 0xbb, F=0x0"];
  packets.push("0, 90000, 90000, 3600, 9999, 0xcc, S=1, 16", "0, 93600, 93600, 3600, 99, 0xdd, F=0x0, S=1, 16");
  expect(facts(LOG, packets)).toEqual({
    format: "rtsp",
    codec: "h264",
    width: 1920,
    height: 1080,
    colour: { matrix: "bt709", range: "limited" },
    fps: 25,
    keyframeMs: 1000,
    bFrames: false,
    durationSeconds: null,
  });
});

test("a keyframe that does not come counts by how long it has not come", () => {
  const packets = ["#tb 0: 1/1000", "0, 0, 0, 40, 9, 0xaa", "0, 3000, 3000, 40, 9, 0xbb, F=0x0"];
  expect(facts(LOG, packets)?.keyframeMs).toBe(3000);
  expect(facts(LOG, [])?.keyframeMs).toBeNull();
});

test("B-frames show in stamps that go back, also where one of the two is unknown", () => {
  const unknown = "-9223372036854775808";
  const live = ["#tb 0: 1/1000", `0, ${unknown}, 0, 40, 9, 0xaa`, `0, ${unknown}, 120, 40, 9, 0xbb, F=0x0`];
  expect(facts(LOG, live)?.bFrames).toBe(false);
  expect(facts(LOG, [...live, `0, ${unknown}, 40, 40, 9, 0xcc, F=0x0`])?.bFrames).toBe(true);
  expect(facts(LOG, ["#tb 0: 1/1000", "0, 0, 80, 40, 9, 0xaa"])?.bFrames).toBe(true);
});

test("a recording, odd in size and filmed upright", () => {
  const log = `Input #0, mov, from 'a.mp4':
  Duration: 00:01:20.50, start: 0.000000, bitrate: 9 kb/s
    Stream #0:0[0x1](und): Video: hevc (Main) (hvc1 / 0x31637668), yuvj420p(pc), 1281x721 [SAR 1:1 DAR 16:9], 9 kb/s, 29.97 fps
      displaymatrix: rotation of -90.00 degrees`;
  expect(facts(log, [])).toMatchObject({
    width: 720,
    height: 1280,
    fps: 29.97,
    durationSeconds: 80.5,
    colour: { range: "full", matrix: "bt601" },
  });
  expect(facts("Input #0, mp3, from 'a'", [])).toBeNull();
});

test("colours that are not said are bt601, limited", () => {
  expect(colourOf("rgb24(pc, gbr/bt709/iec61966-2-1)")).toEqual({ matrix: "bt601", range: "limited" });
  expect(colourOf("yuv420p(progressive)")).toEqual({ matrix: "bt601", range: "limited" });
  expect(colourOf("yuv420p10le(tv, bt2020nc/bt2020/smpte2084)")).toEqual({ matrix: "bt2020", range: "limited" });
});

const live: StreamFacts = {
  format: "rtsp",
  codec: "h264",
  width: 1920,
  height: 1080,
  colour: { matrix: "bt709", range: "limited" },
  fps: 25,
  keyframeMs: 2000,
  bFrames: false,
  durationSeconds: null,
};

test.each([
  [{}, 2000, true, 2000],
  [{}, 1000, false, 1000],
  [{ keyframeMs: 1000 }, 1000, true, 1000],
  [{ keyframeMs: 800 }, 2000, true, 2400],
  [{ keyframeMs: 600 }, 1000, true, 1200],
  [{ keyframeMs: 700 }, 1000, true, 700],
  [{ bFrames: true }, 2000, false, 2000],
  [{ keyframeMs: null }, 2000, false, 2000],
  [{ keyframeMs: 40 }, 1000, false, 1000], // every frame is one: MJPEG
])("%o at one look every %i ms: keyframes only %s", (change, intervalMs, keyframesOnly, expectedMs) => {
  expect(planDecoding({ ...live, ...change }, intervalMs)).toMatchObject({ keyframesOnly, expectedMs });
});

test("the filter picks the nearest frame, and both halves have one width", () => {
  const plan = planDecoding(live, 2000);
  const layout = pictureLayout(letterbox({ kind: "open", longSidePx: 640 }, 1920, 1080), live.colour);
  const graph = lookOptions(plan, live, layout).join(" ");
  expect(graph).toContain("gte(t-prev_selected_t,1.000)");
  expect(graph).toContain("scale=640:360:flags=bilinear,pad=640:360:0:0,split=3[s0][s1][s2]");
  expect(graph).toContain("hstack=3,pad=1920:120:0:0[scaled]");
  expect(graph).toContain("-threads:v 1");
});
