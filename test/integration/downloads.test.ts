/** Downloads against a real HTTP server that breaks off, lies, forgets Range, and is not there. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { type Asset, ensureAsset } from "../../src/assets/download.ts";
import { ensureFfmpeg } from "../../src/assets/ffmpeg.ts";
import { ensureModel } from "../../src/assets/models.ts";
import { type Context, systemClock } from "../../src/context.ts";
import { errorCode } from "../../src/errors.ts";

const BYTES = randomBytes(3_000_000);
const SHA256 = createHash("sha256").update(BYTES).digest("hex");

type Handler = (request: IncomingMessage, response: ServerResponse, turn: number) => void;

/** Answers with Range, as a file server does; `cutAt`: breaks the connection off after so many bytes. */
function serveBytes(request: IncomingMessage, response: ServerResponse, cutAt?: number, bytes = BYTES) {
  const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  const whole = start === 0;
  response.writeHead(whole ? 200 : 206, {
    etag: '"one"',
    "content-length": bytes.length - start,
    ...(whole ? {} : { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` }),
  });
  if (cutAt === undefined) response.end(bytes.subarray(start));
  else response.write(bytes.subarray(start, start + cutAt), () => setImmediate(() => response.destroy()));
}

async function setup(handler: Handler) {
  const cache = await mkdtemp(join(tmpdir(), "vigilane-cache-"));
  const ranges: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    ranges.push(request.headers.range);
    handler(request, response, ranges.length);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/file`;
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(String((JSON.parse(chunk.toString()) as { msg: string }).msg));
      done();
    },
  });
  // Waits of a broken connection's retry are not what is tested here.
  const clock = {
    ...systemClock,
    sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(Math.min(ms, 20_000) / 20, signal),
  };
  const context: Context = { clock, log: pino({ level: "info" }, sink) };
  onTestFinished(async () => {
    server.closeAllConnections();
    server.close();
    await rm(cache, { recursive: true, force: true });
  });
  const asset: Asset = { name: "thing", file: "things/thing.bin", sha256: SHA256, sources: [{ kind: "url", url }] };
  return { cache, ranges, url, context, asset, lines, get: (a = asset) => ensureAsset(a, cache, context) };
}

test("a whole download is checked, kept, shown with its size, and not fetched again", async () => {
  const { get, ranges, cache, lines } = await setup((request, response) => serveBytes(request, response));
  const path = await get();
  expect(path).toBe(join(cache, "things", "thing.bin"));
  expect(await readFile(path)).toEqual(BYTES);
  expect(await get()).toBe(path);
  expect(ranges).toEqual([undefined]);
  expect(await readdir(join(cache, ".partial"))).toEqual([]);
  expect(lines.join("\n")).toMatch(/thing: downloaded \([\d.]+ MB\/s\), 3\.0 MB of 3\.0 MB/);
});

test("broken off: continued where it stopped", async () => {
  const { get, ranges } = await setup((request, response, turn) =>
    serveBytes(request, response, turn < 3 ? 1_000_000 : undefined),
  );
  expect(await readFile(await get())).toEqual(BYTES);
  expect(ranges[0]).toBeUndefined();
  expect(ranges).toHaveLength(3);
  expect(Number(/bytes=(\d+)-/.exec(ranges[2] ?? "")?.[1])).toBeGreaterThan(100_000);
});

test("broken off for good: the next start continues it", async () => {
  let broken = true;
  const { get, ranges } = await setup((request, response) =>
    serveBytes(request, response, broken ? 200_000 : undefined),
  );
  await expect(get()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
  broken = false;
  const before = ranges.length;
  expect(await readFile(await get())).toEqual(BYTES);
  expect(ranges.slice(before)).toEqual([expect.stringMatching(/^bytes=[1-9]\d+-$/)]);
});

test("a server without Range, or with another file by now: cleanly from the start", async () => {
  const { get } = await setup((request, response, turn) => {
    if (turn === 1) return serveBytes(request, response, 500_000);
    response.writeHead(200, { "content-length": BYTES.length, etag: '"two"' }).end(BYTES);
  });
  expect(await readFile(await get())).toEqual(BYTES);
});

test("bytes that are not the right ones are thrown away, and the next source is tried", async () => {
  const { get, asset, url, cache } = await setup((request, response) =>
    request.url === "/bad" ? response.end(Buffer.alloc(1000)) : serveBytes(request, response),
  );
  const sources = [{ kind: "url" as const, url: url.replace("/file", "/bad") }, ...asset.sources];
  expect(await readFile(await get({ ...asset, sources }))).toEqual(BYTES);
  expect(await readdir(join(cache, ".partial"))).toEqual([]);
});

test("no source answers: every one is named, with its fault, the path and the remedy", async () => {
  const { get, asset, url, cache } = await setup((_request, response) => {
    response.writeHead(404).end();
  });
  const sources = [...asset.sources, { kind: "url" as const, url: "http://127.0.0.1:1/nobody" }];
  const error: unknown = await get({ ...asset, sources }).catch((fault: unknown) => fault);
  expect(errorCode(error)).toBe("DOWNLOAD_FAILED");
  expect(String(error)).toContain(`${url}: the server answered 404 Not Found`);
  expect(String(error)).toContain("127.0.0.1:1/nobody: fetch failed");
  expect(error).toMatchObject({ remedy: expect.stringContaining(join(cache, "things", "thing.bin")) });
  expect(existsSync(join(cache, "things", "thing.bin"))).toBe(false);
});

test("a file in the cache that has gone bad is fetched again", async () => {
  const { get } = await setup((request, response) => serveBytes(request, response));
  const path = await get();
  await rm(path);

  await writeFile(path, "half");
  expect(await readFile(await get())).toEqual(BYTES);
});

test("two at once download once", async () => {
  const { get, ranges } = await setup((request, response) => serveBytes(request, response));
  const [one, other] = await Promise.all([get(), get()]);
  expect(one).toBe(other);
  expect(ranges).toHaveLength(1);
});

test("ffmpeg: FFMPEG_PATH wins, and a wrong one is said", async () => {
  const { cache, context } = await setup((_request, response) => void response.end());
  expect(await ensureFfmpeg({ cache }, context, { FFMPEG_PATH: process.execPath })).toBe(process.execPath);
  await expect(ensureFfmpeg({ cache }, context, { FFMPEG_PATH: "/nowhere/ffmpeg" })).rejects.toMatchObject({
    code: "FFMPEG_MISSING",
  });
});

test("a model that is neither in the table nor a file is refused with the table's names", async () => {
  const { cache, context } = await setup((_request, response) => void response.end());
  await expect(ensureModel({ cache, model: "yolo99" }, context)).rejects.toThrow(/yolo11n, yolov8n, yolox-nano/);
});
