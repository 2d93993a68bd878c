/** The dashboard, built from its sources as they are now, into a folder of its own: a test never sees an older build. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build } from "vite";

export interface BuiltPage {
  /** Holds index.html and assets/. */
  readonly folder: string;
  remove(): void;
}

export async function buildPage(): Promise<BuiltPage> {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-page-"));
  const root = resolve(import.meta.dirname, "../../dashboard");
  // Vitest says "test", and React would be built for development.
  const before = process.env.NODE_ENV;
  process.env.NODE_ENV = "production";
  try {
    await build({ root, configFile: join(root, "vite.config.ts"), logLevel: "error", build: { outDir: folder } });
  } finally {
    process.env.NODE_ENV = before;
  }
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
