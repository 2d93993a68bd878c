/** A camera that serves MJPEG over HTTP, as many cheap ones do: played, silent, back again. */
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import sharp from "sharp";
import { expect, onTestFinished, test } from "vitest";
import { createLogger } from "../../src/context.ts";
import { createFfmpegSources } from "../../src/detector/ffmpeg-frame-source.ts";
import { clockFrame, HEIGHT, readClock, WIDTH } from "../support/clock-video.ts";
import { quiet, testFfmpeg } from "../support/detector-assets.ts";

const EVERY_MS = 100;

test("MJPEG over HTTP: a look an interval, no look late; what breaks off is begun anew", async () => {
  const ffmpeg = await testFfmpeg();
  const sentAtMs: number[] = [];
  const clients = new Set<ServerResponse>();
  const jpegs = await Promise.all(
    Array.from({ length: 400 }, (_, n) =>
      sharp(clockFrame(n), { raw: { width: WIDTH, height: HEIGHT, channels: 1 } })
        .jpeg()
        .toBuffer(),
    ),
  );
  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-type": "multipart/x-mixed-replace; boundary=frame" });
    clients.add(response);
    response.on("close", () => clients.delete(response));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const ticking = setInterval(() => {
    const n = sentAtMs.push(quiet.clock.nowMs()) - 1;
    const jpeg = jpegs[n] ?? Buffer.alloc(0);
    for (const client of clients) {
      client.write(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${jpeg.length}\r\n\r\n`);
      client.write(jpeg);
      client.write("\r\n");
    }
  }, EVERY_MS);
  const seen: { number: number; delayMs: number }[] = [];
  const states: string[] = [];
  let told = () => {};
  const until = async (met: () => boolean) => {
    while (!met()) await new Promise<void>((resolve) => (told = resolve));
  };
  const camera = createFfmpegSources(
    ffmpeg,
    quiet,
  )({
    cameraId: "a",
    source: `http://user:secret@127.0.0.1:${(server.address() as AddressInfo).port}/video.mjpg`,
    intervalMs: 500,
    startAtSeconds: 0,
    loop: true,
    inputSize: { kind: "open", longSidePx: 640 },
    sink: {
      frame({ capturedAtMs, picture, release }) {
        const number = readClock(picture);
        seen.push({ number, delayMs: capturedAtMs - (sentAtMs[number] ?? Number.NaN) });
        release();
        told();
      },
      state(state, detail) {
        states.push(`${state} ${detail}`.trim());
        told();
      },
    },
  });
  onTestFinished(async () => {
    clearInterval(ticking);
    await camera.stop();
    server.closeAllConnections();
    server.close();
  });
  await camera.start();
  await until(() => seen.length >= 6);
  const delays = seen.map(({ delayMs }) => delayMs).sort((p, q) => p - q);
  expect(delays[0]).toBeGreaterThanOrEqual(0);
  expect(delays[3]).toBeLessThan(EVERY_MS + 80);
  for (const client of clients) client.destroy();
  await until(() => states.some((state) => /^(stalled|offline)/.test(state)));
  const before = seen.length;
  await until(() => seen.length > before + 2);
  expect(states.join()).not.toContain("secret");
});

test.each([
  "http://127.0.0.1:PORT/video.cgi?user=admin&pwd=secret",
  "http://user:p@secret@127.0.0.1:PORT/video.cgi?pwd=secret",
  "rtsp://user:p@secret@127.0.0.1:PORT/1?pwd=secret",
])("nothing that is said of %s holds its secrets, neither state nor log", async (address) => {
  const server = createServer((request, response) => {
    response.writeHead(request.url?.includes("cgi") ? 404 : 400).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const lines: string[] = [];
  const log = createLogger("detector", "debug", { write: (line) => void lines.push(line) });
  const offline = Promise.withResolvers<string>();
  const source = address.replace("PORT", String((server.address() as AddressInfo).port));
  const camera = createFfmpegSources(await testFfmpeg(), { ...quiet, log })({
    cameraId: "a",
    source,
    intervalMs: 500,
    startAtSeconds: 0,
    loop: true,
    inputSize: { kind: "open", longSidePx: 640 },
    sink: {
      frame: ({ release }) => release(),
      state: (state, detail) => {
        if (state === "offline") offline.resolve(detail);
      },
    },
  });
  onTestFinished(async () => {
    await camera.stop();
    server.closeAllConnections();
    server.close();
  });
  await camera.start();
  const detail = await offline.promise;
  await camera.stop();
  expect(detail).not.toBe("");
  expect(lines.join()).toContain("broke off");
  expect(detail + lines.join()).not.toContain("secret");
});
