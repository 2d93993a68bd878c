/**
 * One process at a time: a folder made exclusively, with its holder inside: pid, a mark of the process, the pid's time of
 * start. A dead holder's lock is taken over; a pid alone does not tell, since a container that comes back has the same ones.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../context.ts";

/** This process, told from every other that had or will have its pid. */
const MARK = randomUUID();
/** Locks that this process holds, by path. */
const held = new Set<string>();

/** Waits until the lock is ours; returns the release. Another download of the same thing may take minutes: that is waited for. */
export async function lockFolder(path: string, { clock, log }: Context): Promise<() => Promise<void>> {
  for (let waited = 0; ; waited += 1) {
    try {
      await mkdir(path);
      held.add(path);
      await writeFile(join(path, "pid"), `${process.pid}\n${MARK}\n${await startOf(process.pid)}\n`);
      return async () => {
        held.delete(path);
        // Whoever took us for dead (another container, which does not see our pid) has a lock of its own now.
        if ((await readHolder(path))?.mark === MARK) await rm(path, { recursive: true, force: true });
      };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const holder = await readHolder(path);
    // Without a holder its maker may be just about to write it: give it a second.
    if (holder ? !(await holds(holder, path)) : waited > 5) await rm(path, { recursive: true, force: true });
    else if (waited % 50 === 0)
      log.info({ holder: holder?.pid }, "another download of this is under way; waiting for it");
    await clock.sleep(200);
  }
}

interface Holder {
  pid: number;
  mark: string;
  /** See startOf. */
  start: string;
}

/** Null: nobody has written himself in yet. */
async function readHolder(path: string): Promise<Holder | null> {
  const text = await readFile(join(path, "pid"), "utf8").catch(() => "");
  const [pid = "", mark = "", start = ""] = text.split("\n");
  return Number(pid) > 0 ? { pid: Number(pid), mark, start } : null;
}

async function holds({ pid, mark, start }: Holder, path: string): Promise<boolean> {
  if (mark === MARK) return held.has(path);
  if (pid === process.pid) return false; // an earlier process, whose pid is ours now
  if (!isAlive(pid)) return false;
  const now = await startOf(pid);
  return start === "" || now === "" || start === now;
}

/** When the process began, in the machine's own terms (Linux: ticks since the boot, and which boot); "" where that is not told. */
async function startOf(pid: number): Promise<string> {
  try {
    const [stat, boot] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "utf8"),
      readFile("/proc/sys/kernel/random/boot_id", "utf8"),
    ]);
    // After the name, which may hold anything, in brackets: the 22nd field (proc(5)), 20th of the rest.
    const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
    return `${boot.trim()} ${ticks}`;
  } catch {
    return "";
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
