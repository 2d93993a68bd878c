/** Which cameras belong to a share of all: by a hash of the id, so that every bridge says the same, at every time. Pure. */
import { createHash } from "node:crypto";

/** `share`: 0 (none) to 1 (all). A larger share holds all cameras of a smaller one. */
export function isInShare(cameraId: string, share: number): boolean {
  return createHash("sha256").update(cameraId).digest().readUInt32BE(0) / 2 ** 32 < share;
}
