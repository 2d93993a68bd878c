/** CPU time: of this process, of its ffmpeg children, and of one bare inference. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type { Letterbox } from "../src/detector/letterbox.ts";
import { openModel } from "../src/detector/onnx-model.ts";
import type { ModelFile } from "../src/model-file.ts";

/** CPU-ms of all living children called ffmpeg; Linux only. */
export function ffmpegCpuMs(): number {
  let ms = 0;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
      const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      if (!stat.includes("(ffmpeg)") || parent !== process.pid) continue;
      for (const { cpuMs } of threadsOf(entry)) ms += cpuMs;
    } catch {
      // it has ended
    }
  }
  return ms;
}

function threadsOf(pid: string): { name: string; cpuMs: number }[] {
  return readdirSync(`/proc/${pid}/task`).map((task) => {
    const read = (file: string) => readFileSync(`/proc/${pid}/task/${task}/${file}`, "utf8");
    return {
      name: read("comm")
        .trim()
        .replace(/[-\d ].*$/, ""),
      cpuMs: Number(read("schedstat").split(" ")[0]) / 1e6,
    };
  });
}

/** CPU-ms of this process so far by what its threads are for (V8Worker: garbage collection; libuv, libvips: JPEG); Linux only. */
export function ownCpuMsByThread(): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { name, cpuMs } of threadsOf("self")) sums.set(name, (sums.get(name) ?? 0) + cpuMs);
  return sums;
}

export function ownCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** CPU-ms a look of ffmpeg alone: keyframes decoded, nothing filtered, nothing handed over. */
export async function bareDecodingMs(ffmpeg: string, url: string, looksASecond: number, seconds: number) {
  const options =
    "-nostdin -hide_banner -loglevel error -threads 1 -skip_frame nokey -rtsp_transport tcp -analyzeduration 1000000";
  const output = "-map 0:v:0 -an -fps_mode passthrough -threads:v 1 -f null -";
  const child = spawn(ffmpeg, [...options.split(" "), "-i", url, ...output.split(" ")], { stdio: "ignore" });
  await setTimeout(5_000);
  const before = ffmpegCpuMs();
  await setTimeout(seconds * 1000);
  const cpuMs = ffmpegCpuMs() - before;
  child.kill("SIGKILL");
  await once(child, "exit");
  return cpuMs / seconds / looksASecond;
}

export interface Bare {
  perSecond: number;
  cpuMs: number;
}

/** Runs `model` on `box` again and again in one thread, one session, for `seconds`: nothing but session.run. */
export async function bareInference(model: ModelFile, box: Letterbox, seconds: number): Promise<Bare> {
  const worker = new Worker(new URL(import.meta.url), { workerData: { model, box, seconds } });
  const { promise, resolve, reject } = Promise.withResolvers<{ runs: number; ms: number; cpuMs: number }>();
  worker.once("message", resolve);
  worker.once("error", reject);
  const { runs, ms, cpuMs } = await promise;
  await new Promise((done) => worker.once("exit", done));
  return { perSecond: (runs * 1000) / ms, cpuMs: cpuMs / runs };
}

if (!isMainThread && parentPort) {
  const { model, box, seconds } = workerData as { model: ModelFile; box: Letterbox; seconds: number };
  const opened = await openModel(model);
  for (let i = 0; i < 3; i += 1) await opened.bare(box);
  const [startedMs, cpuBefore] = [performance.now(), ownCpuMs()];
  let runs = 0;
  for (; performance.now() - startedMs < seconds * 1000; runs += 1) await opened.bare(box);
  const result = { runs, ms: performance.now() - startedMs, cpuMs: ownCpuMs() - cpuBefore };
  await opened.release();
  parentPort.postMessage(result);
}
