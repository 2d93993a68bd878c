import { expect, test } from "vitest";
import { loadSettings } from "../../src/config.ts";
import { sourceToShown, textToShown } from "../../src/detector/source-to-shown.ts";

test.each([
  ["rtsp://cam:554/stream1", "rtsp://cam:554/stream1"],
  ["rtsp://user:secret@cam/1", "rtsp://…@cam/1"],
  ["rtsp://user:p@secret@cam/1", "rtsp://…@cam/1"],
  ["http://cam/video?user=admin&pwd=secret", "http://cam/video?…"],
  ["http://cam?pwd=secret#secret", "http://cam?…"],
  ["http://user:se@cret@cam:80/v.cgi?pwd=secret", "http://…@cam:80/v.cgi?…"],
  ["rtsp://user:sec/ret@cam/1", "rtsp://…"],
  ["rtsp://user:sec?ret@cam/1", "rtsp://…"],
  ["rtsp://user:sec#ret@cam/1", "rtsp://…"],
  ["http://cam/video?mail=me@secret", "http://…"],
  ["rtmp:/user:secret@cam/1?key=secret", "rtmp:/…@cam/1?…"], // as a path that was resolved
  ["/dev/video0", "/dev/video0"],
  ["footage/a?b@c.mp4", "footage/a?b@c.mp4"],
])("%s is shown as %s", (source, shown) => {
  expect(sourceToShown(source)).toBe(shown);
});

test("a text loses every secret of every address in it and keeps its own words", () => {
  expect(textToShown("Error opening input file http://cam/v?user=admin&pwd=secret.")).toBe(
    "Error opening input file http://cam/v?….",
  );
  expect(textToShown("rtsp://user:p@secret@cam/1: Connection refused")).toBe("rtsp://…@cam/1: Connection refused");
  expect(textToShown("Opening 'http://cam/seg1.ts?token=secret' for reading, then http://cam/2?t=secret")).toBe(
    "Opening 'http://cam/seg1.ts?…' for reading, then http://cam/2?…",
  );
});

test("an address that was taken for a file's path loses its secrets too", () => {
  expect(textToShown("/home/me/rtmp:/user:secret@cam/1: No such file or directory")).toBe(
    "/home/me/rtmp:/…@cam/1: No such file or directory",
  );
});

test("a source that is known goes as a whole, whatever its password is made of", () => {
  const source = "rtsp://user:my 'odd\" secret@cam/1";
  expect(textToShown(`${source}: Connection refused`, source)).toBe("rtsp://…@cam/1: Connection refused");
  expect(textToShown("No such file or directory", "/video.mp4")).toBe("No such file or directory");
});

test("a store's address in a fault of the settings is shown without its secrets", () => {
  const load = () => loadSettings(["--redis-url", "http://user:p@secret@h:6379?password=secret"], {});
  expect(load).toThrow(/redisUrl = "http:\/\/…@h:6379\?…"/);
  expect(load).not.toThrow(/secret/);
});
