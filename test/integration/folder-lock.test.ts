/** The lock of downloads over real processes: who holds it is waited for, who is gone is not. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { lockFolder } from "../../src/assets/folder-lock.ts";
import { type Context, createLogger, systemClock } from "../../src/context.ts";

/** A path to lock, and a clock that counts the waits: `waitedFor(n)` resolves at the n-th. */
function setup() {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-lock-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  let waits = 0;
  let told = () => {};
  const clock = {
    ...systemClock,
    async sleep(_ms: number, signal?: AbortSignal) {
      waits += 1;
      told();
      await systemClock.sleep(1, signal);
    },
  };
  const context: Context = { clock, log: createLogger("test", "silent") };
  const waited = async (times: number) => {
    const from = waits;
    while (waits < from + times) await new Promise<void>((resolve) => (told = resolve));
  };
  return { path: join(folder, "thing.lock"), context, waited };
}

/** A lock as another process has left it. */
function leave(path: string, ...lines: (string | number)[]) {
  mkdirSync(path);
  writeFileSync(join(path, "pid"), `${lines.join("\n")}\n`);
}

const holderIn = (path: string) => readFileSync(join(path, "pid"), "utf8").split("\n");

test("one after the other in one process, too", async () => {
  const { path, context, waited } = setup();
  const release = await lockFolder(path, context);
  let second = false;
  const next = lockFolder(path, context).then((unlock) => {
    second = true;
    return unlock;
  });
  await waited(10);
  expect(second).toBe(false);
  await release();
  await (await next)();
  expect(existsSync(path)).toBe(false);
});

test("a lock of an earlier process with our own pid is taken over: so a killed container comes back", async () => {
  for (const lines of [[process.pid], [process.pid, "another-mark", "boot 1"]]) {
    const { path, context } = setup();
    leave(path, ...lines);
    await (await lockFolder(path, context))();
    expect(existsSync(path)).toBe(false);
  }
});

test("a lock with our own mark that nobody holds any more is taken over", async () => {
  const { path, context } = setup();
  const release = await lockFolder(path, context);
  const ours = holderIn(path);
  await release();
  leave(path, ...ours);
  await (await lockFolder(path, context))();
});

test.runIf(process.platform === "linux")(
  "a pid that lives, but was another's when the lock was taken, holds nothing",
  async () => {
    const { path, context } = setup();
    leave(path, process.ppid, "another-mark", "an-earlier-boot 1");
    await (await lockFolder(path, context))();
  },
);

test("a process that lives is waited for, also where it has not told its start", async () => {
  const { path, context, waited } = setup();
  leave(path, process.ppid, "another-mark", "");
  let ours = false;
  const locked = lockFolder(path, context).then((unlock) => {
    ours = true;
    return unlock;
  });
  await waited(10);
  expect(ours).toBe(false);
  rmSync(path, { recursive: true });
  await (await locked)();
});

test("a lock that another one has taken over meanwhile is left to it", async () => {
  const { path, context } = setup();
  const release = await lockFolder(path, context);
  rmSync(path, { recursive: true });
  leave(path, process.ppid, "another-mark", "");
  await release();
  expect(holderIn(path)[1]).toBe("another-mark");
});
