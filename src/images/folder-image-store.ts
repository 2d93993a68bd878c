/** Crops as files: `<folder>/<camera>/<yyyymmddhh>/<name>.jpg`. Several processes of one machine may share the folder. */
import { randomUUID } from "node:crypto";
import { access, mkdir, readdir, readFile, rename, rm, rmdir, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { service } from "../lifecycle.ts";
import { IMAGE_REFERENCE, type ImageStore, safeName } from "./image-store.ts";

interface StoredFile {
  path: string;
  bytes: number;
  atMs: number;
}

export function createFolderImageStore({ folder }: { folder: string }, context: Context): ImageStore {
  const base = service("image folder", context, async () => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  });

  /** The file of a reference. Only our own spelling gets this far, so that no path leaves the folder. */
  function pathOf(reference: string): string {
    const parts = IMAGE_REFERENCE.exec(reference);
    if (!parts) throw new VigilaneError("IMAGE_FOREIGN", "the reference is not one of this image store");
    const [, camera = "", hour = "", name = ""] = parts;
    if (/^\.+$/.test(camera)) throw new VigilaneError("IMAGE_FOREIGN", "the reference is not one of this image store");
    return join(folder, camera, hour, name);
  }

  return Object.assign(base, {
    async put(camera: string, name: string, jpeg: Buffer) {
      const hour = new Date(context.clock.nowMs()).toISOString().slice(0, 13).replace(/\D/g, "");
      const reference = `vigilane:images/${safeName(camera)}/${hour}/${safeName(name)}.jpg`;
      const path = pathOf(reference);
      const unfinished = `${path}.${randomUUID()}.tmp`;
      await mkdir(join(path, ".."), { recursive: true });
      try {
        await writeFile(unfinished, jpeg);
        await rename(unfinished, path);
      } catch (error) {
        await rm(unfinished, { force: true });
        throw error;
      }
      return reference;
    },
    async get(reference: string) {
      try {
        return await readFile(pathOf(reference));
      } catch (error) {
        if (isAbsent(error)) throw new VigilaneError("IMAGE_GONE", `${reference} is not there any more`);
        throw error;
      }
    },
    has: (reference: string) =>
      access(pathOf(reference)).then(
        () => true,
        () => false,
      ),
    async remove(references: readonly string[]) {
      for (const reference of references) await rm(pathOf(reference), { force: true });
    },
    async sweep({ maxAgeMs, maxBytes }: { maxAgeMs: number; maxBytes: number }) {
      const files = (await listFiles(folder)).toSorted((a, b) => a.atMs - b.atMs);
      let bytes = files.reduce((sum, file) => sum + file.bytes, 0);
      const oldest = context.clock.nowMs() - maxAgeMs;
      let removed = 0;
      for (const file of files) {
        if (file.atMs >= oldest && bytes <= maxBytes) break;
        await unlink(file.path).catch(() => {});
        bytes -= file.bytes;
        removed += 1;
      }
      return { removed, bytes };
    },
  });
}

/** Every file, and on the way the folders of hours that have become empty are removed. */
async function listFiles(folder: string): Promise<StoredFile[]> {
  const files: StoredFile[] = [];
  for (const camera of await foldersIn(folder)) {
    for (const hour of await foldersIn(camera)) {
      const names = await readdir(hour).catch(() => []);
      if (names.length === 0) await rmdir(hour).catch(() => {});
      for (const name of names) {
        const path = join(hour, name);
        const facts = await stat(path).catch(() => undefined);
        if (facts) files.push({ path, bytes: facts.size, atMs: facts.mtimeMs });
      }
    }
  }
  return files;
}

async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map((entry) => join(folder, entry.name));
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
