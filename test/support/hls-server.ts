/**
 * A camera that serves HLS over HTTP, for tests: ffmpeg encodes frames that say their own number (clock-video.ts) as they
 * come, ten a second, into a rolling playlist; a small server hands the folder out. A finished playlist lies beside it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { clockFrame, HEIGHT, makeClockVideo, WIDTH } from "./clock-video.ts";

export const FRAMES_A_SECOND = 10;
const LISTED_SEGMENTS = 5;

export interface LiveHls {
  /** Of the playlist, with a token in its query as tests of what is said want it. */
  readonly url: string;
  /** When frame n was handed to the encoder, ms since the epoch. */
  sentAtMs(number: number): number;
  /** Resolves when the playlist is there. */
  listed(): Promise<void>;
  /** The encoder gets no frames any more: the playlist stays as it is, and is served all the same. */
  fallSilent(): void;
  goOn(): void;
  /** The encoder ends as one does that is stopped: the playlist is marked as finished. */
  finish(): Promise<void>;
  /** The server goes away (the encoder does not), and comes back at the same port. */
  goAway(): Promise<void>;
  comeBack(): Promise<void>;
  stop(): Promise<void>;
}

export async function startLiveHls(ffmpeg: string, { segmentSeconds }: { segmentSeconds: number }): Promise<LiveHls> {
  const folder = await mkdtemp(join(tmpdir(), "vigilane-hls-"));
  const playlist = join(folder, "live.m3u8");
  const keyframeEvery = FRAMES_A_SECOND * segmentSeconds;
  const options =
    `-hide_banner -loglevel error -f rawvideo -pix_fmt gray -s ${WIDTH}x${HEIGHT} -r ${FRAMES_A_SECOND} -i pipe:0 ` +
    `-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency -g ${keyframeEvery} -keyint_min ${keyframeEvery} ` +
    `-sc_threshold 0 -f hls -hls_time ${segmentSeconds} -hls_list_size ${LISTED_SEGMENTS} -hls_flags delete_segments+temp_file`;
  const encoder = spawn(ffmpeg, [...options.split(" "), playlist], { stdio: ["pipe", "ignore", "inherit"] });
  const ended = once(encoder, "exit");
  encoder.stdin.on("error", () => {}); // it may be killed in mid-frame
  const sentAtMs: number[] = [];
  let silent = false;
  const ticking = setInterval(() => {
    if (!silent) encoder.stdin.write(clockFrame(sentAtMs.push(Date.now()) - 1));
  }, 1000 / FRAMES_A_SECOND);

  let server = await serveFolder(folder, 0);
  const { port } = server;
  return {
    url: `http://127.0.0.1:${port}/live.m3u8?token=secret`,
    sentAtMs: (number) => sentAtMs[number] ?? Number.NaN,
    async listed() {
      while (!existsSync(playlist)) await new Promise((resolve) => setTimeout(resolve, 50)); // polls a file
    },
    fallSilent() {
      silent = true;
    },
    goOn() {
      silent = false;
    },
    async finish() {
      silent = true;
      encoder.stdin.end();
      await ended;
    },
    goAway: () => server.close(),
    async comeBack() {
      server = await serveFolder(folder, port);
    },
    async stop() {
      clearInterval(ticking);
      await server.close();
      encoder.kill("SIGKILL");
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** `film.m3u8` in the folder: a finished playlist, its frames numbered from 0. */
export async function makeFinishedHls(
  ffmpeg: string,
  folder: string,
  { segmentSeconds, seconds }: { segmentSeconds: number; seconds: number },
): Promise<void> {
  const keyframeEvery = FRAMES_A_SECOND * segmentSeconds;
  const film = join(folder, "film.mp4");
  await makeClockVideo(ffmpeg, { path: film, framesASecond: FRAMES_A_SECOND, seconds, keyframeEvery });
  const options = `-hide_banner -loglevel error -i ${film} -c copy -f hls -hls_time ${segmentSeconds} -hls_playlist_type vod`;
  const child = spawn(ffmpeg, [...options.split(" "), join(folder, "film.m3u8")], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`ffmpeg ended with ${code}`);
}

export interface FolderServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Serves the files of one folder. Port 0: a free one. */
export async function serveFolder(folder: string, port: number): Promise<FolderServer> {
  const server = createServer((request, response) => {
    const name = basename(new URL(request.url ?? "/", "http://host").pathname);
    const stream = createReadStream(join(folder, name));
    stream.once("error", () => response.writeHead(404).end());
    stream.once("open", () => {
      const type = name.endsWith(".m3u8") ? "application/vnd.apple.mpegurl" : "video/mp2t";
      response.writeHead(200, { "content-type": type });
      stream.pipe(response);
    });
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      if (!server.listening) return;
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
