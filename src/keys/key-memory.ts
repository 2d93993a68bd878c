/**
 * What this machine remembers of its keys, so that a changed file cannot send a secret to a place that it was never entered
 * for, nor make a fresh quota of a renamed group. No secret is kept: only fingerprints with a salt of this data folder.
 *
 * A file of lines that are only ever appended, so that several processes may write at once; what two of them append twice
 * says nothing new.
 */
import { createHmac, randomBytes } from "node:crypto";
import { appendFileSync, linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** One key and where the file sends it. */
export interface KeyBinding {
  group: string;
  keyId: string;
  secret: string;
  /** Null: the simulator's address, which is ours to choose. */
  baseUrl: string | null;
  model: string;
  account: string;
}

export interface KeyMemory {
  /** Places that this secret was entered for; empty: it is new here. */
  placesOf(secret: string): ReadonlySet<string>;
  /** The account under which this key's quota of this model has been counted; undefined: none yet. */
  accountOf(secret: string, model: string): string | undefined;
  /** Takes these for entered. Appends only what is new. */
  remember(bindings: readonly KeyBinding[]): void;
}

const Line = z.union([
  z.object({ salt: z.string().min(16) }),
  z.object({ key: z.string(), place: z.string() }),
  z.object({ quota: z.string(), account: z.string() }),
]);

export const memoryFile = (dataFolder: string) => join(dataFolder, "known-keys.jsonl");

/** Where a secret goes, as far as it matters: scheme, host and port; all of this machine's own ports are one place. */
export function placeOf(baseUrl: string): string {
  const { origin, hostname } = new URL(baseUrl);
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname) ? "this machine" : origin;
}

/** As it stands now; a folder that is not there yet is made by `remember` alone. */
export function readKeyMemory(dataFolder: string): KeyMemory {
  const file = memoryFile(dataFolder);
  const places = new Map<string, Set<string>>();
  const accounts = new Map<string, string>();
  let salt = learn(readLines(file));

  function learn(lines: z.infer<typeof Line>[]): string | undefined {
    let found: string | undefined;
    for (const line of lines) {
      if ("salt" in line) found ??= line.salt;
      else if ("key" in line) places.set(line.key, (places.get(line.key) ?? new Set()).add(line.place));
      else accounts.set(line.quota, line.account);
    }
    return found;
  }
  const mark = (...parts: string[]) =>
    createHmac("sha256", salt ?? "")
      .update(parts.join("\n"))
      .digest("base64url")
      .slice(0, 32);

  return {
    placesOf: (secret) => (salt && places.get(mark("key", secret))) || new Set(),
    accountOf: (secret, model) => (salt ? accounts.get(mark("quota", secret, model)) : undefined),
    remember(bindings) {
      salt ??= learn(makeFile(dataFolder, file));
      const news: object[] = [];
      for (const { secret, baseUrl, model, account } of bindings) {
        const key = mark("key", secret);
        const place = baseUrl === null ? null : placeOf(baseUrl);
        if (place !== null && !places.get(key)?.has(place)) {
          news.push({ key, place });
          places.set(key, (places.get(key) ?? new Set()).add(place));
        }
        const quota = mark("quota", secret, model);
        if (accounts.get(quota) !== account) news.push({ quota, account });
        accounts.set(quota, account);
      }
      if (news.length > 0) appendFileSync(file, news.map((line) => `${JSON.stringify(line)}\n`).join(""));
    },
  };
}

function readLines(file: string): z.infer<typeof Line>[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return text.split("\n").flatMap((line) => {
    try {
      const parsed = Line.safeParse(JSON.parse(line));
      return parsed.success ? [parsed.data] : [];
    } catch {
      return []; // the last line of a process that was killed
    }
  });
}

/** Whole or not at all: another process may be at it too, and its salt is then the one. */
function makeFile(folder: string, file: string): z.infer<typeof Line>[] {
  mkdirSync(folder, { recursive: true });
  const own = `${file}.${process.pid}-${randomBytes(4).toString("hex")}`;
  writeFileSync(own, `${JSON.stringify({ salt: randomBytes(24).toString("base64url") })}\n`, { mode: 0o600 });
  try {
    linkSync(own, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    unlinkSync(own);
  }
  return readLines(file);
}
