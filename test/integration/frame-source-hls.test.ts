/** HLS over HTTP, as cloud cameras and media servers serve it: live, silent, away, ended; and a recording. Side by side: they mostly wait. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, type TestContext, test } from "vitest";
import { testFfmpeg } from "../support/detector-assets.ts";
import { FRAMES_A_SECOND, type LiveHls, makeFinishedHls, serveFolder, startLiveHls } from "../support/hls-server.ts";
import { watchSource } from "../support/watch-source.ts";

const SEGMENT_SECONDS = 1;
const INTERVAL_MS = 500;
/** A segment is listed when it is whole, and is then the newest for as long again; then the way through ffmpeg. */
const AT_BEST_MS = SEGMENT_SECONDS * 1_000;
const OLDEST_MS = 2 * AT_BEST_MS + 1_000;

let ffmpeg: string;
beforeAll(async () => {
  ffmpeg = await testFfmpeg();
}, 120_000);

async function live(onTestFinished: TestContext["onTestFinished"]): Promise<LiveHls> {
  const made = await startLiveHls(ffmpeg, { segmentSeconds: SEGMENT_SECONDS });
  onTestFinished(() => made.stop());
  await made.listed();
  return made;
}

test.concurrent("live: the newest segment first, a look an interval and not in heaps, each of its own moment", async ({
  onTestFinished,
}) => {
  const hls = await live(onTestFinished);
  const camera = await watchSource(onTestFinished, ffmpeg, hls.url, { intervalMs: INTERVAL_MS });
  await camera.more(12);
  expect(camera.states).toEqual(["connecting", expect.stringMatching(/^online/)]);
  const ages = camera.frames.map(({ number, capturedAtMs }) => capturedAtMs - hls.sentAtMs(number));
  expect(Math.min(...ages)).toBeGreaterThan(0);
  expect(ages[0]).toBeLessThan(OLDEST_MS);
  expect(median(ages)).toBeLessThan(OLDEST_MS);
  const steps = pairs(camera.frames).map(([a, b]) => b.number - a.number);
  expect(median(steps)).toBe((INTERVAL_MS / 1000) * FRAMES_A_SECOND);
  const gaps = pairs(camera.frames).map(([a, b]) => b.capturedAtMs - a.capturedAtMs);
  expect(median(gaps)).toBeGreaterThan(0.7 * INTERVAL_MS); // a heap would be milliseconds
});

test.concurrent("a server that goes away: stalled or offline with the reason, and back by itself with what is new then", async ({
  onTestFinished,
}) => {
  const hls = await live(onTestFinished);
  const camera = await watchSource(onTestFinished, ffmpeg, hls.url, { intervalMs: INTERVAL_MS });
  await camera.more(2);
  const broken = camera.state(/^(stalled|offline) /);
  await hls.goAway();
  expect(await broken).toMatch(/refused|no frame|ended/);
  expect(await camera.state(/^offline /)).toContain("Connection refused");
  const back = camera.state(/^online/);
  await hls.comeBack();
  const backAtMs = Date.now();
  await back;
  await camera.more(1);
  expect(hls.sentAtMs(camera.frames.at(-1)?.number ?? 0)).toBeGreaterThan(backAtMs - OLDEST_MS);
  expect(camera.states.join()).not.toContain("secret");
});

test.concurrent("a dead encoder's playlist, served all the same, is never shown as live; a finished one is neither", async ({
  onTestFinished,
}) => {
  const hls = await live(onTestFinished);
  const camera = await watchSource(onTestFinished, ffmpeg, hls.url, { intervalMs: INTERVAL_MS });
  await camera.more(2);
  const stalled = camera.state(/^stalled no frame/);
  hls.fallSilent();
  await stalled;
  await camera.state(/^offline the playlist brings no new segment$/);
  const shown = camera.frames.map(({ number }) => number);
  expect(shown).toEqual(shown.toSorted((a, b) => a - b)); // nothing twice, nothing again
  expect(new Set(shown).size).toBe(shown.length);
  const seen = camera.frames.length;
  const online = camera.state(/^online/);
  hls.goOn();
  await online;
  await camera.until(() => camera.frames.length > seen);
  expect(camera.frames.at(-1)?.number).toBeGreaterThan(shown.at(-1) ?? 0);
  const ended = camera.state(/^offline the live stream has ended/);
  await hls.finish();
  await ended;
});

test.concurrent("a finished playlist is a recording: in real time, from its place, and again from its beginning", async ({
  onTestFinished,
}) => {
  const folder = await mkdtemp(join(tmpdir(), "vigilane-hls-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await makeFinishedHls(ffmpeg, folder, { segmentSeconds: SEGMENT_SECONDS, seconds: 4 });
  const server = await serveFolder(folder, 0);
  onTestFinished(() => server.close());
  const source = `http://127.0.0.1:${server.port}/film.m3u8`;
  const camera = await watchSource(onTestFinished, ffmpeg, source, { intervalMs: INTERVAL_MS, startAtSeconds: 2 });
  await camera.more(14);
  const numbers = camera.frames.map(({ number }) => number);
  expect(numbers).toEqual([20, 25, 30, 35, 0, 5, 10, 15, 20, 25, 30, 35, 0, 5]);
  const gaps = pairs(camera.frames).map(([a, b]) => b.capturedAtMs - a.capturedAtMs);
  expect(median(gaps)).toBeGreaterThan(0.8 * INTERVAL_MS);

  const once = await watchSource(onTestFinished, ffmpeg, source, { intervalMs: INTERVAL_MS, loop: false });
  await once.until(() => once.states.at(-1) === "offline the recording has ended");
  expect(once.frames.map(({ number }) => number)).toEqual([0, 5, 10, 15, 20, 25, 30, 35]);
});

function pairs<T>(list: readonly T[]): [T, T][] {
  return list.slice(1).map((item, i) => [list[i] as T, item]);
}

function median(values: readonly number[]): number {
  return values.toSorted((p, q) => p - q)[Math.floor(values.length / 2)] ?? Number.NaN;
}
