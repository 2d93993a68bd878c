/**
 * The key set of a running role, and its changes: an edited file is noticed within two seconds, also when it was replaced by
 * rename, and taken over whole or not at all. While it is refused the earlier set stays, and the role says so.
 */
import { type FSWatcher, statSync, watch } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Context } from "../context.ts";
import { explain, VigilaneError } from "../errors.ts";
import { loop } from "../lifecycle.ts";
import type { Settings } from "../settings.ts";
import { alike, changesBetween, type KeyChanges } from "./key-changes.ts";
import { fewKeysWarning, type KeySet, keysFile, loadKeySet, rememberKeys } from "./load-key-set.ts";
import { isSealed } from "./sealed-file.ts";

/** Where the system tells of no change (network folders, some mounts), and for files that lie elsewhere. */
const POLL_MS = 1_000;
/** An editor that writes in several steps has come to an end: half a file could be a valid one. */
const STILL_MS = 150;
const MOST_WAITS = 5;

export interface KeySetWatch {
  /** The set as it is at start. Rejects with SETTINGS_INVALID, all faults in it. To be called first. */
  load(): Promise<KeySet>;
  /**
   * Calls `apply` with each later set until `signal` aborts; one that rejects is called again. Without a file there is
   * nothing to follow.
   */
  follow(apply: (set: KeySet, changes: KeyChanges) => Promise<void>, signal: AbortSignal): Promise<void>;
  /** Why the file as it is now is not in use; undefined: it is. For people. */
  problem(): string | undefined;
}

/** What is to be known of a set is logged aloud (info, warn) unless somebody else says it; then at debug. Default: aloud. */
export interface SaidElsewhere {
  /** At the load. */
  atStart?: boolean;
  /** After a change. */
  ofChanges?: boolean;
}

export function createKeySetWatch(settings: Settings, context: Context, elsewhere: SaidElsewhere = {}): KeySetWatch {
  const { clock, log } = context;
  let current: KeySet | undefined;
  let seen = "";
  let problem: string | undefined;

  function warn(set: KeySet, aloud: boolean): void {
    const few = fewKeysWarning(set);
    if (few) log[aloud ? "warn" : "debug"](few);
  }

  /** Changes whenever one of the files does. */
  function signature(): string {
    const path = keysFile(settings) ?? "";
    return [path, ...new Set([path, ...(current?.watched ?? [])])].map(stateOf).join("\n");
  }

  async function standsStill(): Promise<string> {
    let before = signature();
    for (let waits = 0; waits < MOST_WAITS; waits += 1) {
      await clock.sleep(STILL_MS);
      const now = signature();
      if (now === before) break;
      before = now;
    }
    return before;
  }

  async function look(set: KeySet, apply: (set: KeySet, changes: KeyChanges) => Promise<void>): Promise<void> {
    // A refused file may be mended by what is not watched yet, such as a secret's file that was missing.
    const again = problem !== undefined && !isSealed(keysFile(settings) ?? "");
    if (signature() === seen && !again) return;
    const state = await standsStill();
    let next: KeySet;
    try {
      if (keysFile(settings) === undefined) throw gone(set.file);
      next = await loadKeySet(settings);
    } catch (error) {
      // Whatever it is: a set that cannot be loaded is not in use, and who asks why is told.
      seen = state;
      const why = explain(error).replaceAll(/\n\s*- /g, " · ");
      if (why !== problem) log.error({ why }, "the changed keys' file is refused whole; the earlier keys stay in use");
      problem = why;
      return;
    }
    if (!alike(worthOf(next), worthOf(set))) {
      const changes = changesBetween(set.groups, next.groups);
      await apply(next, changes);
      rememberKeys(next, settings);
      const { added, removed, changed } = changes;
      log.info({ added, removed, changed, notices: next.notices }, "the changed keys' file is in use");
      warn(next, !elsewhere.ofChanges);
    } else if (problem !== undefined) log.info("the keys' file is as it was; nothing has changed");
    current = next;
    seen = state;
    problem = undefined;
  }

  return {
    async load() {
      const before = stateOf(keysFile(settings) ?? "");
      current = await loadKeySet(settings);
      for (const notice of current.notices) log[elsewhere.atStart ? "debug" : "info"](notice);
      warn(current, !elsewhere.atStart);
      rememberKeys(current, settings);
      // Edited while it was read: to be looked at again.
      seen = before === stateOf(keysFile(settings) ?? "") ? signature() : "";
      return current;
    },

    async follow(apply, signal) {
      if (current?.file === undefined) return;
      let ring = () => {};
      const watcher = watchFolder(dirname(resolve(current.file)), () => ring());
      try {
        await loop(context, signal, "keys' file", async () => {
          const told = new AbortController();
          ring = () => told.abort();
          if (current) await look(current, apply);
          // Sleeps on unless told while it looked.
          await clock.sleep(POLL_MS, AbortSignal.any([signal, told.signal])).catch(() => {});
        });
      } finally {
        watcher?.close();
      }
    },

    problem: () => problem,
  };

  function watchFolder(folder: string, onChange: () => void): FSWatcher | undefined {
    try {
      const watcher = watch(folder, { persistent: false }, onChange);
      watcher.on("error", (error) =>
        log.debug({ err: error }, "the folder tells of no changes; it is looked at instead"),
      );
      return watcher;
    } catch (error) {
      log.debug({ err: error }, "the folder tells of no changes; it is looked at instead");
      return undefined;
    }
  }
}

/** What of a set is in use; the rest are words about it. */
const worthOf = ({ groups, routing, policy }: KeySet) => ({ groups, routing, policy });

function stateOf(path: string): string {
  try {
    const { mtimeMs, ctimeMs, size, ino } = statSync(path);
    return `${path} ${mtimeMs} ${ctimeMs} ${size} ${ino}`;
  } catch {
    return `${path} -`;
  }
}

const gone = (file: string | undefined) =>
  new VigilaneError("SETTINGS_INVALID", `the keys' file ${file ?? ""} is gone`, {
    remedy: "Put it back; to run without keys, stop first.",
  });
