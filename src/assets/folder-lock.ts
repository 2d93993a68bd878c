/** One process at a time: a folder made exclusively, with its holder's pid inside. A dead holder's lock is taken over. */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Context } from "../context.ts";

/** Waits until the lock is ours; returns the release. Another download of the same thing may take minutes: that is waited for. */
export async function lockFolder(path: string, { clock, log }: Context): Promise<() => Promise<void>> {
  for (let waited = 0; ; waited += 1) {
    try {
      await mkdir(path);
      await writeFile(join(path, "pid"), String(process.pid));
      return () => rm(path, { recursive: true, force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const pid = Number(await readFile(join(path, "pid"), "utf8").catch(() => "0"));
    // Without a pid its maker may be just about to write it: give it a second.
    if (pid > 0 ? !isAlive(pid) : waited > 5) await rm(path, { recursive: true, force: true });
    else if (waited % 50 === 0) log.info({ holder: pid }, "another process is downloading this; waiting for it");
    await clock.sleep(200);
  }
}

function isAlive(pid: number): boolean {
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
