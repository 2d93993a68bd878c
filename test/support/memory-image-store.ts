/** An image store in memory, for tests of what puts crops and reads them. */
import { VigilaneError } from "../../src/errors.ts";
import { IMAGE_REFERENCE, type ImageStore, safeName } from "../../src/images/image-store.ts";

export interface MemoryImageStore extends ImageStore {
  readonly images: ReadonlyMap<string, Buffer>;
}

export function createMemoryImageStore(): MemoryImageStore {
  const images = new Map<string, Buffer>();
  return {
    name: "images in memory",
    images,
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
    put(camera, name, jpeg) {
      const reference = `vigilane:images/${safeName(camera)}/2026010100/${safeName(name)}.jpg`;
      images.set(reference, jpeg);
      return Promise.resolve(reference);
    },
    get(reference) {
      if (!IMAGE_REFERENCE.test(reference)) return Promise.reject(new VigilaneError("IMAGE_FOREIGN", reference));
      const jpeg = images.get(reference);
      return jpeg ? Promise.resolve(jpeg) : Promise.reject(new VigilaneError("IMAGE_GONE", reference));
    },
    has: (reference) => Promise.resolve(images.has(reference)),
    remove(references) {
      for (const reference of references) images.delete(reference);
      return Promise.resolve();
    },
    sweep: () => Promise.resolve({ removed: 0, bytes: 0 }),
  };
}
