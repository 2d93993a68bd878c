import { expect, test } from "vitest";
import { inputOptions, kindOf, playbackOptions } from "../../src/detector/ffmpeg-options.ts";

test.each([
  ["rtsp://cam/1", "rtsp"],
  ["RTSPS://cam/1", "rtsp"],
  ["http://cam/video.mjpg", "http"],
  ["https://cam/live.m3u8?token=1", "http"],
  ["/dev/video0", "device"],
  ["/dev/video12", "device"],
  ["/no/such/picture.PNG", "image"],
  ["/no/such/video.mp4", "file"],
])("%s is of the kind %s", (source, kind) => {
  expect(kindOf(source)).toBe(kind);
});

test("a device is opened by Video4Linux, at its own pace", () => {
  const given = { listFile: undefined, patient: false };
  expect(inputOptions("/dev/video0", "device", 500, given)).toEqual({ input: "/dev/video0", options: ["-f", "v4l2"] });
});

test("a recording is played in real time, from its place once or from its beginning for ever", () => {
  expect(playbackOptions("http", 0, true)).toEqual(["-re", "-stream_loop", "-1"]);
  expect(playbackOptions("http", 12.5, true)).toEqual(["-re", "-ss", "12.5"]);
  expect(playbackOptions("file", 0, false)).toEqual(["-re"]);
});
