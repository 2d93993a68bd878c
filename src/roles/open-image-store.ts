/** Which store keeps the crops: S3 where a bucket is set, else a folder of the data folder. The one place that chooses. */
import { join } from "node:path";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { createFolderImageStore } from "../images/folder-image-store.ts";
import type { ImageStore } from "../images/image-store.ts";
import { createS3ImageStore, type S3Place } from "../images/s3-image-store.ts";
import { resolveSecret } from "../keys/secrets.ts";
import type { Settings } from "../settings.ts";

export type ImageSettings = Pick<
  Settings,
  "data" | "s3Bucket" | "s3Endpoint" | "s3Region" | "s3AccessKeyId" | "s3SecretAccessKey" | "s3PathStyle"
>;

export type ImagePlace = { kind: "folder"; folder: string } | ({ kind: "s3" } & S3Place);

/** Not started. Throws SETTINGS_INVALID for settings of S3 that do not fit each other. */
export function openImageStore(settings: ImageSettings, context: Context): ImageStore {
  const place = imagePlace(settings);
  return place.kind === "s3" ? createS3ImageStore(place, context) : createFolderImageStore(place, context);
}

/** Throws SETTINGS_INVALID, never with what the secret is. */
export function imagePlace(settings: ImageSettings, env: NodeJS.ProcessEnv = process.env): ImagePlace {
  const { data, s3Bucket: bucket, s3Endpoint: endpoint, s3Region: region } = settings;
  const key = keyOf(settings, env);
  if (bucket !== undefined) {
    return { kind: "s3", bucket, endpoint, region, pathStyle: settings.s3PathStyle ?? endpoint !== undefined, key };
  }
  // Crops in a folder that nobody else sees would be gone for every other machine.
  if (endpoint !== undefined || key) {
    throw wrong(`${endpoint === undefined ? "s3AccessKeyId" : "s3Endpoint"} is set, and s3Bucket is not`);
  }
  return { kind: "folder", folder: join(data, "images") };
}

function keyOf({ s3AccessKeyId: id, s3SecretAccessKey: written }: ImageSettings, env: NodeJS.ProcessEnv) {
  if (id === undefined && written === undefined) return undefined;
  if (id === undefined) throw wrong("s3SecretAccessKey is set, and s3AccessKeyId is not");
  if (written === undefined) throw wrong("s3AccessKeyId is set, and s3SecretAccessKey is not");
  const resolved = resolveSecret(written, env);
  if ("fault" in resolved) throw wrong(`s3SecretAccessKey: ${resolved.fault}`);
  return { id, secret: resolved.secret };
}

const wrong = (message: string) =>
  new VigilaneError("SETTINGS_INVALID", message, {
    remedy: "Set VIGILANE_S3_… whole, or leave it out; --help says more.",
  });
