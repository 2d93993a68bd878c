/** What the detector's tests need from outside, taken as users take it: from the registries, into the cache. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { pino } from "pino";
import { ensureFfmpeg } from "../../src/assets/ffmpeg.ts";
import { ensureFootage } from "../../src/assets/footage.ts";
import { ensureModel } from "../../src/assets/models.ts";
import { type Context, systemClock } from "../../src/context.ts";
import { defaultCacheFolder } from "../../src/settings.ts";

export const quiet: Context = { clock: systemClock, log: pino({ level: process.env.TEST_LOG ?? "silent" }) };

const cache = defaultCacheFolder();

export const testFfmpeg = () => ensureFfmpeg({ cache }, quiet);
export const testFootage = () => ensureFootage({ cache }, quiet);
export const testModel = (model = "yolo11n") => ensureModel({ cache, model }, quiet);

const BUS_SHA256 = "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63";

/** bus.jpg (810×1080) out of the PyPI wheel of ultralytics, by pip; null where there is no pip or no registry. */
export async function testBus(): Promise<string | null> {
  const target = join(cache, "test", "bus.jpg");
  if (existsSync(target)) return target;
  await mkdir(join(cache, "test"), { recursive: true });
  const folder = await mkdtemp(join(cache, "test", "wheel-"));
  const run = promisify(execFile);
  try {
    await run("pip", ["download", "--quiet", "--no-deps", "--dest", folder, "ultralytics"], { timeout: 300_000 });
    const [wheel] = await readdir(folder);
    if (!wheel) return null;
    await run("python3", ["-m", "zipfile", "-e", join(folder, wheel), folder]); // a wheel is a zip file
    const bus = join(folder, "ultralytics", "assets", "bus.jpg");
    const found = createHash("sha256")
      .update(await readFile(bus))
      .digest("hex");
    if (found !== BUS_SHA256) return null;
    await rename(bus, target);
    return target;
  } catch {
    return null;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
