/**
 * The image store in a folder, of this machine or shared: <folder>/<camera>/<yyyymmddhh>/<name>.jpg, the hour in UTC.
 *
 * A write is a temporary file and a rename, so that a reader sees the whole image or none, also after kill -9. Images
 * need no fsync: one that a power cut took is IMAGE_GONE, which everybody must be ready for anyway.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, rmdir, stat, utimes, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { service } from "../lifecycle.ts";
import { type ImageStore, jpegName, partsOf, safeName, toHour } from "./image-store.ts";

/** A temporary file of this age belongs to a writer that died. */
const ABANDONED_MS = 60_000;

interface StoredFile {
  path: string;
  bytes: number;
  writtenMs: number;
}

export function createFolderImageStore({ folder }: { folder: string }, context: Context): ImageStore {
  const root = resolve(folder);
  const base = service("images in a folder", context, async () => {
    await mkdir(root, { recursive: true });
  });

  return {
    ...base,

    async put(camera, name, jpeg) {
      const cameraName = safeName(camera);
      const fileName = jpegName(name);
      const nowMs = context.clock.nowMs();
      // An image that is put again after the turn of the hour is overwritten where it is, not doubled.
      const lastHour = toHour(nowMs - 3_600_000);
      const hour = (await exists(join(root, cameraName, lastHour, fileName))) ? lastHour : toHour(nowMs);
      await writeWhole(join(root, cameraName, hour), fileName, jpeg, nowMs);
      return `vigilane:images/${cameraName}/${hour}/${fileName}`;
    },

    async get(reference) {
      const path = pathOf(root, reference);
      try {
        return await readFile(path);
      } catch (cause) {
        if (!isMissing(cause)) throw cause;
        throw new VigilaneError("IMAGE_GONE", `the image ${reference} is not there any more`, { cause });
      }
    },

    async has(reference) {
      return exists(pathOf(root, reference));
    },

    async remove(references) {
      for (const reference of references) await rm(pathOf(root, reference), { force: true });
    },

    async sweep({ maxAgeMs, maxBytes }) {
      const nowMs = context.clock.nowMs();
      const { images, temporary } = await filesOf(root);
      for (const { path, writtenMs } of temporary) {
        if (writtenMs < nowMs - ABANDONED_MS) await rm(path, { force: true });
      }
      let bytes = images.reduce((sum, file) => sum + file.bytes, 0);
      let removed = 0;
      for (const { path, bytes: size, writtenMs } of images.sort((a, b) => a.writtenMs - b.writtenMs)) {
        if (writtenMs >= nowMs - maxAgeMs && bytes <= maxBytes) break;
        await rm(path, { force: true });
        bytes -= size;
        removed += 1;
      }
      await removeEmptyFolders(root, toHour(nowMs));
      return { removed, bytes };
    },
  };
}

/** Throws IMAGE_FOREIGN for anything but our own spelling; the path is inside `root`, whatever the reference says. */
function pathOf(root: string, reference: string): string {
  const { camera, hour, name } = partsOf(reference);
  return join(root, camera, hour, name);
}

/** All or nothing under the file's name. A folder that a sweep found empty just now is made again. */
async function writeWhole(folder: string, name: string, bytes: Buffer, writtenMs: number): Promise<void> {
  const temporary = join(folder, `${randomUUID()}.tmp`);
  for (let tries = 1; ; tries += 1) {
    try {
      await writeFile(temporary, bytes, { flag: "wx" });
      break;
    } catch (error) {
      if (!isMissing(error) || tries === 5) throw error;
      await mkdir(folder, { recursive: true });
    }
  }
  try {
    // Finer than the kernel's own stamps, and by the clock that sweeping goes by.
    await utimes(temporary, writtenMs / 1000, writtenMs / 1000);
    await rename(temporary, join(folder, name));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function filesOf(root: string): Promise<{ images: StoredFile[]; temporary: StoredFile[] }> {
  const images: StoredFile[] = [];
  const temporary: StoredFile[] = [];
  for (const folder of await hourFolders(root)) {
    const names = await readdir(folder).catch(() => []);
    await Promise.all(
      names.map(async (name) => {
        const path = join(folder, name);
        const found = await stat(path).catch(() => undefined); // removed meanwhile
        if (!found?.isFile()) return;
        const kind = name.endsWith(".jpg") ? images : name.endsWith(".tmp") ? temporary : undefined;
        kind?.push({ path, bytes: found.size, writtenMs: found.mtimeMs });
      }),
    );
  }
  return { images, temporary };
}

async function hourFolders(root: string): Promise<string[]> {
  const folders: string[] = [];
  for (const camera of await subfolders(root)) {
    for (const hour of await subfolders(join(root, camera))) folders.push(join(root, camera, hour));
  }
  return folders;
}

async function subfolders(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

/** Past hours only, and never with anything in them (rmdir refuses). */
async function removeEmptyFolders(root: string, thisHour: string): Promise<void> {
  for (const camera of await subfolders(root)) {
    for (const hour of await subfolders(join(root, camera))) {
      if (hour < thisHour) await rmdir(join(root, camera, hour)).catch(() => {});
    }
    await rmdir(join(root, camera)).catch(() => {});
  }
}

const exists = (path: string) =>
  stat(path).then(
    (found) => found.isFile(),
    (error: unknown) => {
      if (isMissing(error)) return false;
      throw error;
    },
  );

const isMissing = (error: unknown) => {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ENOTDIR";
};
