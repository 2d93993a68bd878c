/** The demo footage: people and vehicles on a road, from OpenCV's samples (768×576, 10 frames a second, 80 s). */

import type { Context } from "../context.ts";
import type { Settings } from "../settings.ts";
import { type Asset, ensureAsset } from "./download.ts";

const VTEST: Asset = {
  name: "demo footage",
  file: "footage/vtest.avi",
  sha256: "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf",
  sources: [
    { kind: "url", url: "https://raw.githubusercontent.com/opencv/opencv/4.x/samples/data/vtest.avi" },
    { kind: "debian", package: "opencv-doc", member: "usr/share/doc/opencv-doc/examples/data/vtest.avi" },
  ],
};

/** Path of the footage; downloaded the first time. Rejects with DOWNLOAD_FAILED. */
export function ensureFootage(settings: Pick<Settings, "cache">, context: Context): Promise<string> {
  return ensureAsset(VTEST, settings.cache, context);
}
