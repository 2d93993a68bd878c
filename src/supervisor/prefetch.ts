/**
 * What the detector needs from elsewhere, fetched before anything is started: here a download can show its progress on
 * the terminal, and its failure is the command's. The detector finds it all in the cache then.
 */
import { existsSync } from "node:fs";
import { ensureFfmpeg } from "../assets/ffmpeg.ts";
import { ensureFootage } from "../assets/footage.ts";
import { ensureModel } from "../assets/models.ts";
import type { Context } from "../context.ts";
import type { Settings } from "../settings.ts";

/** The cameras' file that these settings mean; undefined: the one source, or the demo. */
export function camerasFile(settings: Pick<Settings, "cameras" | "source">): string | undefined {
  if (settings.cameras) return settings.cameras;
  return !settings.source && existsSync("config/cameras.yaml") ? "config/cameras.yaml" : undefined;
}

export const isDemo = (settings: Pick<Settings, "cameras" | "source">) =>
  !settings.source && camerasFile(settings) === undefined;

/** Resolves with what the detector's environment needs besides. */
export async function prefetch(
  settings: Settings,
  context: Context,
  step: (text: string) => void,
): Promise<NodeJS.ProcessEnv> {
  const ffmpeg = await ensureFfmpeg(settings, context);
  step(`ffmpeg: ${ffmpeg}`);
  const model = await ensureModel(settings, context);
  step(`model ${model.name}: ${model.path}`);
  if (isDemo(settings)) step(`demo footage: ${await ensureFootage(settings, context)}`);
  return { FFMPEG_PATH: ffmpeg };
}
