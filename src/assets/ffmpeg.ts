/** ffmpeg: the one that FFMPEG_PATH names, else the one on the PATH, else an npm package's binary, kept in the cache. */
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";
import { ensureAsset } from "./download.ts";

const VERSION = "7.0.0";
const BINARY = process.platform === "win32" ? "ffmpeg.exe" : "ffmpeg";

/** sha256 where it was checked by us; elsewhere the registry's integrity of the tarball stands alone. */
const KNOWN_SHA256: Readonly<Record<string, string>> = {
  "linux-x64": "b03cae467e4e9881e7dfa29f27e9a9a9cdb3cb170cced74e51d86ac9ff7586ed",
};

/** Path of an ffmpeg that can be run. Rejects with FFMPEG_MISSING, naming what was tried. */
export async function ensureFfmpeg(
  settings: Pick<Settings, "cache">,
  context: Context,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  if (env.FFMPEG_PATH) {
    if (isExecutable(env.FFMPEG_PATH)) return resolve(env.FFMPEG_PATH);
    throw new VigilaneError("FFMPEG_MISSING", `FFMPEG_PATH is ${env.FFMPEG_PATH}, which cannot be run`);
  }
  const found = onPath(env.PATH ?? "");
  if (found) return found;
  const platform = `${process.platform}-${process.arch}`;
  context.log.info({ platform }, "no ffmpeg on the PATH: taking the one of the npm package @ffmpeg-binary");
  try {
    return await ensureAsset(
      {
        name: "ffmpeg",
        file: `ffmpeg/${VERSION}-${platform}/${BINARY}`,
        sha256: KNOWN_SHA256[platform] ?? null,
        mode: 0o755,
        sources: [{ kind: "npm", package: `@ffmpeg-binary/${platform}`, version: VERSION, member: BINARY }],
      },
      settings.cache,
      context,
    );
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new VigilaneError("FFMPEG_MISSING", `there is no ffmpeg on the PATH, and ${why}`, { cause: error });
  }
}

function onPath(path: string): string | undefined {
  return path
    .split(delimiter)
    .filter(Boolean)
    .map((folder) => join(folder, BINARY))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
