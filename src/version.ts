/** The package's version; the same file from the sources and from the build one folder deeper. */
import { readFileSync } from "node:fs";

export function version(): string {
  for (const up of ["../package.json", "../../package.json"]) {
    try {
      const parsed: unknown = JSON.parse(readFileSync(new URL(up, import.meta.url), "utf8"));
      if (typeof parsed === "object" && parsed !== null && "version" in parsed) return String(parsed.version);
    } catch {
      // not this one
    }
  }
  return "unknown";
}
