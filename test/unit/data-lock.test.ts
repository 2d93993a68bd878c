import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { lockAddress, lockData } from "../../src/supervisor/data-lock.ts";

const context = { clock: systemClock, log: pino({ level: "silent" }) };
const kinds =
  process.platform === "win32"
    ? (["pipe"] as const)
    : process.platform === "linux"
      ? (["abstract", "file"] as const)
      : (["file"] as const);

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "vigilane-lock-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A process that holds the lock until it is killed. */
async function holdApart(data: string, kind: string): Promise<ChildProcess> {
  const lock = fileURLToPath(new URL("../../src/supervisor/data-lock.ts", import.meta.url));
  const clock = fileURLToPath(new URL("../../src/context.ts", import.meta.url));
  const script = `
    import { lockData } from ${JSON.stringify(lock)};
    import { systemClock } from ${JSON.stringify(clock)};
    await lockData(${JSON.stringify(data)}, { clock: systemClock }, ${JSON.stringify(kind)});
    setInterval(() => {}, 1000);
    process.stdout.write("held\\n");`;
  const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  if (!child.stdout) throw new Error("no output");
  await once(child.stdout, "data");
  return child;
}

describe.each(kinds)("the lock of a data folder (%s)", (kind) => {
  test("the second is told who is first, and gets it when the first has released it", async () => {
    const data = folder();
    const first = await lockData(data, context, kind);
    first.tell({ pid: 4711, url: "http://127.0.0.1:8800" });
    const refused = await lockData(data, context, kind).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "ALREADY_RUNNING" });
    expect(String(refused)).toContain("process 4711");
    expect(String(refused)).toContain("http://127.0.0.1:8800");
    await first.release();
    await (await lockData(data, context, kind)).release();
  });

  test("another folder is another lock", async () => {
    const one = await lockData(folder(), context, kind);
    const two = await lockData(folder(), context, kind);
    await Promise.all([one.release(), two.release()]);
  });

  test("a holder killed with -9 holds nothing any more", async () => {
    const data = folder();
    const holder = await holdApart(data, kind);
    await expect(lockData(data, context, kind)).rejects.toMatchObject({ code: "ALREADY_RUNNING" });
    holder.kill("SIGKILL");
    await once(holder, "exit");
    if (kind === "file") expect(existsSync(lockAddress(data, kind))).toBe(true); // it left its socket behind
    await (await lockData(data, context, kind)).release();
  });

  test("of many that start at once over a stale lock exactly one gets it", async () => {
    const data = folder();
    const holder = await holdApart(data, kind);
    holder.kill("SIGKILL");
    await once(holder, "exit");
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => lockData(data, context, kind)));
    const held = tries.filter((t) => t.status === "fulfilled");
    const refused = tries.filter((t) => t.status === "rejected");
    expect(held).toHaveLength(1);
    for (const { reason } of refused) expect(reason).toMatchObject({ code: "ALREADY_RUNNING" });
    await held[0]?.value.release();
  });
});
