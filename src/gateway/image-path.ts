/** References of the image store as paths of the gateway, and back. */
import { IMAGE_REFERENCE } from "../images/image-store.ts";

/** Path of a crop on the gateway; null when there is none, or the reference is not our own. */
export function imagePathOf(reference: string | null | undefined): string | null {
  const match = IMAGE_REFERENCE.exec(reference ?? "");
  return match ? `/images/${match[1]}/${match[2]}/${match[3]}` : null;
}

/** The reference behind a path's three parts. What is no reference of ours is refused by the image store. */
export const referenceOf = (camera: string, hour: string, name: string) => `vigilane:images/${camera}/${hour}/${name}`;
