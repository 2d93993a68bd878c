/**
 * The contract of the image store: crops as JPEG bytes under references that are safe to put into messages. Adapters:
 * folder-image-store.ts, s3-image-store.ts; both pass the same conformance suite, and both write the same references.
 *
 * A reference looks like `vigilane:<store>/<camera>/<yyyymmddhh>/<name>.jpg`. Only our own references are ever read: any
 * other text (a URL, a path) is refused with IMAGE_FOREIGN, and nothing is fetched.
 */
import { createHash } from "node:crypto";
import { VigilaneError } from "../errors.ts";
import type { Service } from "../lifecycle.ts";

export interface ImageStore extends Service {
  /** Stores and returns the reference. The same camera and name overwrite: idempotent. Resolves when readable by others. */
  put(camera: string, name: string, jpeg: Buffer): Promise<string>;
  /** Rejects with IMAGE_GONE (deleted or never there), IMAGE_FOREIGN, or on S3 IMAGES_AWAY or IMAGES_REFUSED, as all of these do. */
  get(reference: string): Promise<Buffer>;
  has(reference: string): Promise<boolean>;
  /** Deletes; what is not there is no error. */
  remove(references: readonly string[]): Promise<void>;
  /**
   * Deletes what is older than `maxAgeMs`, then the oldest until at most `maxBytes` are left. Several at once do the same
   * work side by side: all take the same oldest images, and together no more of them than one alone would.
   */
  sweep(limits: { maxAgeMs: number; maxBytes: number }): Promise<{ removed: number; bytes: number }>;
}

/** The one spelling of a reference: camera, hour and name hold only [A-Za-z0-9._-]. */
export const IMAGE_REFERENCE = /^vigilane:images\/([A-Za-z0-9._-]{1,120})\/(\d{10})\/([A-Za-z0-9._-]{1,200}\.jpg)$/;

/**
 * Camera ids and message ids made safe for a path: 1 to 100 of [A-Za-z0-9._-], never only dots. A text that is safe as it
 * is stays; any other is marked with a part of its hash, so that two different texts never share a name.
 */
export function safeName(text: string): string {
  if (/^[A-Za-z0-9._-]{1,100}$/.test(text) && !/^\.+$/.test(text)) return text;
  const mark = createHash("sha256").update(text).digest("hex").slice(0, 16);
  return `${text.replace(/[^A-Za-z0-9_-]/g, "-").slice(0, 80)}-${mark}`;
}

/** The name of an image in its camera's hour, whatever its caller calls it. */
export const jpegName = (name: string) => `${safeName(name.replace(/\.jpg$/i, ""))}.jpg`;

/** yyyymmddhh in UTC. */
export const toHour = (ms: number) => new Date(ms).toISOString().replace(/[-T]/g, "").slice(0, 10);

/** Throws IMAGE_FOREIGN for anything but our own spelling; what it returns leads nowhere else, whatever the reference says. */
export function partsOf(reference: string): { camera: string; hour: string; name: string } {
  const [, camera, hour, name] = IMAGE_REFERENCE.exec(reference) ?? [];
  // The spelling alone would let the camera be "..".
  if (camera === undefined || hour === undefined || name === undefined || camera !== safeName(camera)) {
    throw new VigilaneError(
      "IMAGE_FOREIGN",
      `${JSON.stringify(reference.slice(0, 80))} is no reference into this image store`,
    );
  }
  return { camera, hour, name };
}
