/** CPU time: of this process, of its ffmpeg children, and of one bare inference. */
import { readdirSync, readFileSync } from "node:fs";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type { Letterbox } from "../src/detector/letterbox.ts";
import { openModel } from "../src/detector/onnx-model.ts";
import type { ModelFile } from "../src/model-file.ts";

const TICK_MS = 10; // Linux: sysconf(_SC_CLK_TCK) is 100 wherever Node runs

/** CPU-ms of all living children called ffmpeg; Linux only. */
export function ffmpegCpuMs(): number {
  let ms = 0;
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (!stat.includes("(ffmpeg)") || Number(fields[1]) !== process.pid) continue;
      ms += (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    } catch {
      // it has ended
    }
  }
  return ms;
}

/** CPU-ms of this process so far by what its threads are for (V8Worker: garbage collection; libuv, libvips: JPEG); Linux only. */
export function ownCpuMsByThread(): Map<string, number> {
  const sums = new Map<string, number>();
  for (const task of readdirSync("/proc/self/task")) {
    const read = (file: string) => readFileSync(`/proc/self/task/${task}/${file}`, "utf8");
    const name = read("comm")
      .trim()
      .replace(/[-\d ].*$/, "");
    sums.set(name, (sums.get(name) ?? 0) + Number(read("schedstat").split(" ")[0]) / 1e6);
  }
  return sums;
}

export function ownCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
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
