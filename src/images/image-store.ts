/**
 * The contract of the image store: crops as JPEG bytes under references that are safe to put into messages. Adapters:
 * folder-image-store.ts; others pass the same conformance suite.
 *
 * A reference looks like `vigilane:<store>/<camera>/<yyyymmddhh>/<name>.jpg`. Only our own references are ever read: any
 * other text (a URL, a path) is refused with IMAGE_FOREIGN, and nothing is fetched.
 */
import { createHash } from "node:crypto";
import type { Service } from "../lifecycle.ts";

export interface ImageStore extends Service {
  /** Stores and returns the reference. The same camera and name overwrite: idempotent. Resolves when readable by others. */
  put(camera: string, name: string, jpeg: Buffer): Promise<string>;
  /** Rejects with IMAGE_GONE (deleted or never there) or IMAGE_FOREIGN. */
  get(reference: string): Promise<Buffer>;
  has(reference: string): Promise<boolean>;
  /** Deletes; what is not there is no error. */
  remove(references: readonly string[]): Promise<void>;
  /** Deletes what is older than `maxAgeMs`, then the oldest until at most `maxBytes` are left. */
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
